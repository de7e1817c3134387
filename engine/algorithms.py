"""The algorithm map: every method by family, and what it says about itself.

Everything about an algorithm for tables is read from its file in `engine/tabular`; which presets
show it is read from the presets. Only the algorithms for language models, which have no files yet,
are described here.
"""

from __future__ import annotations

import inspect
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from engine import presets
from engine.errors import UserError, nearest
from engine.tabular import registry
from engine.tabular.algorithm import Algorithm


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One algorithm on the map."""

    name: str
    title: str
    kind: Literal["tabular", "llm"]
    """What it trains: tables, or a language model."""
    built: bool
    """Whether it can be trained here already."""
    branch: str
    """The slug of its branch."""
    family: str
    model_based: bool
    """Whether it learns or knows a model of the maze, and plans with it."""
    policy_type: str
    behaviour_policy: str = ""
    target_policy: str = ""
    update_name: str = ""
    source: str
    formula: str
    idea: str
    needs: str
    chosen_when: str
    relatives: tuple[str, ...] = ()
    """Of an algorithm for tables: those for language models that it is used or grew into. Of one
    for language models: the ones for tables it comes from."""
    presets: tuple[str, ...] = ()
    """The shipped presets that show it, in alphabetical order."""
    file: str = ""
    """The file that implements it."""

    @property
    def for_llms(self) -> bool:
        """Whether it belongs to the part of the map that language models are trained with."""
        return self.kind == "llm" or bool(self.relatives)


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """A family on the map; `parent` is the slug of the branch it grows from, or nothing."""

    slug: str
    title: str
    about: str
    parent: str = ""
    entries: tuple[Entry, ...] = ()


BRANCHES = (
    Branch(
        slug="planning",
        title="Planning with a known model",
        about="The rules of the ice are known, so nobody has to move: values are computed.",
    ),
    Branch(
        slug="prediction",
        title="Prediction",
        about="What is a given policy worth? Nothing is improved.",
    ),
    Branch(
        slug="value",
        title="Learning action values",
        about="Learn what each action is worth, and act on it.",
    ),
    Branch(
        slug="on-policy",
        title="on-policy",
        about="Learns about the policy it follows, exploring moves included.",
        parent="value",
    ),
    Branch(
        slug="off-policy",
        title="off-policy",
        about="Learns about another policy (the greedy one) than it follows.",
        parent="value",
    ),
    Branch(
        slug="model",
        title="Learning a model too",
        about="Learns the rules from its own steps, and plans with what it has learned of them.",
    ),
    Branch(
        slug="policy",
        title="Policy gradient",
        about="Change the policy itself, in the direction that earns more.",
    ),
    Branch(
        slug="tables",
        title="for tables",
        about="One number for each observation and action: the methods in their simplest form.",
        parent="policy",
    ),
    Branch(
        slug="llm",
        title="for language models",
        about="The same methods with a language model as the policy. Not built yet: here they "
        "are on the map only.",
        parent="policy",
    ),
)
"""In the order of the map; a branch comes after the one it grows from."""


class _ForLanguageModels(msgspec.Struct, frozen=True):
    """An algorithm for language models, until it has a file of its own."""

    title: str
    comes_from: tuple[str, ...]
    source: str
    formula: str
    idea: str
    needs: str
    chosen_when: str
    policy_type: str = "on-policy"


_SAMPLES = "Completions sampled from the model now, and a reward for each"
_GROUPS = "Several completions of the same prompt, and a reward for each"

LLM = {
    "reinforce": _ForLanguageModels(
        title="REINFORCE",
        comes_from=("reinforce",),
        source="Williams 1992; for language models Ahmadian et al. 2024",
        formula="∇J = E[ (R − b) ∇ln π(completion|prompt) ]",
        idea="Make whole completions that earned more than usual more likely.",
        needs=f"{_SAMPLES}; a running mean of rewards as baseline.",
        chosen_when="The simplest thing that works is wanted; the reward comes once at the end.",
    ),
    "rloo": _ForLanguageModels(
        title="RLOO",
        comes_from=("reinforce",),
        source="Kool et al. 2019; for language models Ahmadian et al. 2024",
        formula="Aᵢ = rᵢ − mean of the other rewards in the group",
        idea="REINFORCE whose baseline for each completion is the mean of the others.",
        needs=f"{_GROUPS}.",
        chosen_when="A baseline without bias and without a value model is wanted.",
    ),
    "grpo": _ForLanguageModels(
        title="GRPO",
        comes_from=("grpo",),
        source="Shao et al. 2024, section 4.1",
        formula="Aᵢ = (rᵢ − mean r) / (std r + ε), in PPO's clipped objective, minus β KL(π‖π_ref)",
        idea="PPO without a value model: a completion is compared with its group.",
        needs=f"{_GROUPS}; a frozen reference policy when KL is used.",
        chosen_when="Answers can be checked (mathematics, code, mazes) and memory is short.",
    ),
    "dr-grpo": _ForLanguageModels(
        title="Dr. GRPO",
        comes_from=("grpo",),
        source="Liu et al. 2025",
        formula="Aᵢ = rᵢ − mean r; loss divided by a constant, not by each completion's length",
        idea="GRPO without the two normalisations that bias it.",
        needs=f"{_GROUPS}.",
        chosen_when="GRPO makes wrong answers longer and longer.",
    ),
    "dapo": _ForLanguageModels(
        title="DAPO",
        comes_from=("grpo",),
        source="Yu et al. 2025",
        formula="clip(ρ, 1 − 0.2, 1 + 0.28); mean over all tokens of the batch",
        idea="GRPO that leaves rare tokens more room to grow and skips groups that teach nothing.",
        needs=f"{_GROUPS}; prompts that are sometimes solved and sometimes not.",
        chosen_when="Answers are long, and entropy collapses under GRPO.",
    ),
    "ppo": _ForLanguageModels(
        title="PPO",
        comes_from=("ppo", "actor-critic"),
        source="Schulman et al. 2017; for language models Ouyang et al. 2022",
        formula="min( ρ Â, clip(ρ, 1−ε, 1+ε) Â ), ρ and Â for each token, KL in the reward",
        idea="Several careful steps on the same samples, judged token by token by a value model.",
        needs=f"{_SAMPLES}; a value model of about the policy's size.",
        chosen_when="Rewards come along the way, and there is memory for a second model.",
    ),
    "mpo": _ForLanguageModels(
        title="MPO",
        comes_from=("policy-iteration",),
        source="Abdolmaleki et al. 2018",
        formula="fit π to softmax( ln π_old + A/η )",
        idea="Policy iteration in soft steps: compute a better policy, then fit the model to it.",
        needs="Advantages for all actions of a state, such as running means of returns.",
        chosen_when="Moves are few and luck is large: gradients from samples are too noisy.",
        policy_type="off-policy",
    ),
}
"""The algorithms for language models by name, in the order they are taught."""


def entries() -> list[Entry]:
    """Every algorithm: those on the shelf in teaching order, then those for language models."""
    shown = _shown_by(presets.shipped_folder())
    shelf = [_of_shelf(algorithm, shown) for algorithm in registry.all_algorithms()]
    return [*shelf, *(_for_llms(name) for name in LLM)]


def tree() -> list[Branch]:
    """The branches in the order of the map, with their algorithms; empty ones are left out."""
    by_branch: dict[str, list[Entry]] = {}
    for entry in entries():
        by_branch.setdefault(entry.branch, []).append(entry)
    grown = [
        msgspec.structs.replace(branch, entries=tuple(by_branch.get(branch.slug, ())))
        for branch in BRANCHES
    ]
    parents = {branch.parent for branch in grown if branch.entries}
    return [branch for branch in grown if branch.entries or branch.slug in parents]


def get(name: str) -> list[Entry]:
    """The algorithms of that name: for tables, for language models, or both. Raises UserError."""
    known = entries()
    found = [entry for entry in known if entry.name == name.strip().lower()]
    if not found:
        names = list(dict.fromkeys(entry.name for entry in known))
        raise UserError(f"There is no algorithm {name!r}.{nearest(name, names)}")
    return found


def branch_of(algorithm: Algorithm) -> str:
    """The slug of the branch an algorithm for tables grows on."""
    if algorithm.family == "policy":
        return "tables"
    if algorithm.family == "value":
        return "model" if algorithm.model_based else algorithm.policy_type
    return algorithm.family


def _of_shelf(algorithm: Algorithm, shown: dict[str, tuple[str, ...]]) -> Entry:
    return Entry(
        name=algorithm.name,
        title=algorithm.title,
        kind="tabular",
        built=True,
        branch=branch_of(algorithm),
        family=algorithm.family,
        model_based=algorithm.model_based,
        policy_type=algorithm.policy_type,
        behaviour_policy=algorithm.behaviour_policy,
        target_policy=algorithm.target_policy,
        update_name=algorithm.update_name,
        source=algorithm.source,
        formula=algorithm.formula,
        idea=algorithm.idea,
        needs=algorithm.needs,
        chosen_when=algorithm.chosen_when,
        relatives=tuple(name for name, llm in LLM.items() if algorithm.name in llm.comes_from),
        presets=shown.get(algorithm.name, ()),
        file=_file(algorithm),
    )


def _file(algorithm: Algorithm) -> str:
    """Where it stands, relative to the package's folder: `engine/tabular/q_learning.py`."""
    path = Path(inspect.getfile(type(algorithm)))
    return path.relative_to(Path(__file__).parents[1]).as_posix()


def _for_llms(name: str) -> Entry:
    llm = LLM[name]
    return Entry(
        name=name,
        title=llm.title,
        kind="llm",
        built=False,
        branch="llm",
        family="policy",
        model_based=False,
        policy_type=llm.policy_type,
        source=llm.source,
        formula=llm.formula,
        idea=llm.idea,
        needs=llm.needs,
        chosen_when=llm.chosen_when,
        relatives=tuple(name for name in llm.comes_from if name in registry.MODULES),
    )


@cache
def _shown_by(folder: Path) -> dict[str, tuple[str, ...]]:
    """The presets in a folder by the algorithm they train with. A broken one shows nothing."""
    shown: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.toml")):
        try:
            data = tomllib.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        algorithm = data.get("algorithm")
        if isinstance(algorithm, dict) and "model" not in data:
            shown.setdefault(str(algorithm.get("name")), []).append(file.stem)
    return {algorithm: tuple(names) for algorithm, names in shown.items()}
