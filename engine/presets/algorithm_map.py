"""The algorithm map: every method by family, and what it says about itself.

Everything about an algorithm is read from its file, in `engine/tabular` or `engine/llm/algorithms`;
which presets show it is read from the presets.
"""

from __future__ import annotations

import inspect
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from engine.algorithms import registry
from engine.config import shipped
from engine.config.llm import LlmSettings
from engine.config.shipped import shipped_files
from engine.core.errors import UserError, nearest
from engine.learning.algorithm import Algorithm
from engine.llm.algorithms.base import LlmAlgorithm

Kind = Literal["tabular", "llm"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One algorithm on the map."""

    name: str
    title: str
    kind: Kind
    """The kind of policy it trains: tables, or a language model."""
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
    with_llms: str = ""
    """How well it suits language models, and why."""
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
        about="The same methods with a language model as the policy: its adapters are trained.",
        parent="policy",
    ),
)
"""In the order of the map; a branch comes after the one it grows from."""


def entries() -> list[Entry]:
    """Every algorithm: those on the shelf in teaching order, then those for language models."""
    folder = shipped.FOLDER
    tables, models = _shown_by(folder, "tabular"), _shown_by(folder, "llm")
    return [
        *(_of_shelf(algorithm, tables) for algorithm in registry.TABLES.all()),
        *(_for_llms(algorithm, models) for algorithm in registry.LANGUAGE_MODELS.all()),
    ]


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
    used_by = (
        llm.name for llm in registry.LANGUAGE_MODELS.all() if algorithm.name in llm.comes_from
    )
    return _entry(algorithm, "tabular", branch_of(algorithm), tuple(used_by), shown)


def _for_llms(algorithm: LlmAlgorithm[LlmSettings], shown: dict[str, tuple[str, ...]]) -> Entry:
    comes_from = (name for name in algorithm.comes_from if name in registry.TABLES.names)
    return _entry(algorithm, "llm", "llm", tuple(comes_from), shown)


def _entry(
    algorithm: Algorithm,
    kind: Kind,
    branch: str,
    relatives: tuple[str, ...],
    shown: dict[str, tuple[str, ...]],
) -> Entry:
    return Entry(
        name=algorithm.name,
        title=algorithm.title,
        kind=kind,
        built=True,
        branch=branch,
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
        relatives=relatives,
        with_llms=algorithm.with_llms,
        presets=shown.get(algorithm.name, ()),
        file=_file(algorithm),
    )


def _file(algorithm: Algorithm) -> str:
    """The path of its file in the project: `engine/tabular/algorithms/q_learning.py`."""
    path = Path(inspect.getfile(type(algorithm)))
    return path.relative_to(Path(__file__).parents[2]).as_posix()


@cache
def _shown_by(folder: Path, kind: Kind) -> dict[str, tuple[str, ...]]:
    """The shipped presets, which are in `folder`, that train tables or language models, by the
    algorithm they train with. A broken one shows nothing."""
    shown: dict[str, list[str]] = {}
    for name, file in shipped_files().items():
        try:
            data = tomllib.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        algorithm = data.get("algorithm")
        if isinstance(algorithm, dict) and ("model" in data) == (kind == "llm"):
            shown.setdefault(str(algorithm.get("name")), []).append(name)
    return {algorithm: tuple(names) for algorithm, names in shown.items()}
