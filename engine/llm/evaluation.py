"""What the saved adapters of a run do in any maze, asked in a process of its own.

Commands and screens never import torch: they send the mazes to `python -P -m engine.llm.evaluation`
and get the policy tables back, which are evaluated exactly without the model. A policy that writes
whole routes has no table: it is sampled there, and its figures come back.

Shapes: `W` worlds, `O` observations, `A` actions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
import numpy as np

import engine
from engine.config.preset import LlmPreset
from engine.core.arrays import Array
from engine.core.errors import INSTALL_LLM, UserError
from engine.env.build_mdp import build_mdps
from engine.env.maze import Maze

Progress = Callable[[str], None]

ADAPTER = "adapter"
"""The folder of a run in which its best adapters are, see `engine.runs.recording`."""
PROGRAM = ("-P", "-m", "engine.llm.evaluation")
TEMPERATURE = 1.0
"""Of the target policy, whatever the run sampled with."""
ROUTES = 64
"""Completions that are sampled for each maze."""
STREAM = 4
"""What the random numbers are for, see `engine.llm.plan_learner`."""


class Question(msgspec.Struct, frozen=True):
    """What a run's adapters do in these mazes is wanted; all of one shape, in one or two splits."""

    run_dir: str
    splits: list[list[Maze]]
    want: Literal["policies", "routes"]


class Sampled(msgspec.Struct, frozen=True):
    """Figures [W] of a policy that writes routes, and the standard error of its success rate."""

    figures: dict[str, list[float]]
    stderr: float


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the process: what it does, why it cannot, or what was asked for."""

    progress: str = ""
    error: str = ""
    policies: list[list[list[float]]] | None = None
    """[W, O, A] of all splits"""
    sampled: list[Sampled] | None = None
    """Of each split."""


def ask_policies(
    run_dir: Path, mazes: Sequence[Maze], progress: Progress = lambda text: None
) -> Array:
    """π(a|o) [W, O, A] at temperature 1 of the saved adapters; uniform where nothing is decided.

    Of a policy that writes whole routes it is how likely each move is to be the first of a route
    from there: what it does when it plans anew in every cell.

    `progress` is told in words what takes its time. Raises UserError when there are no adapters
    yet, or the model cannot be loaded.
    """
    question = Question(str(run_dir.absolute()), [list(mazes)], "policies")
    return np.array(_ask(run_dir, question, progress).policies)


def ask_routes(
    run_dir: Path, splits: Sequence[Sequence[Maze]], progress: Progress = lambda text: None
) -> list[Sampled]:
    """The figures of `ROUTES` routes a maze for each split, as `ask_policies` asks."""
    question = Question(str(run_dir.absolute()), [list(mazes) for mazes in splits], "routes")
    answer = _ask(run_dir, question, progress)
    return answer.sampled or []


def _ask(run_dir: Path, question: Question, progress: Progress) -> Answer:
    if not (run_dir / ADAPTER / "adapter_model.safetensors").is_file():
        raise UserError(
            f"The run {run_dir.name} has saved no adapters yet ({run_dir / ADAPTER}). Wait for its "
            f"first checkpoint, or start it with `icemaze train --resume {run_dir.name}`."
        )
    with tempfile.TemporaryFile() as log:
        # The working folder is the worker's, so that a relative model folder means the same.
        process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            cwd=run_dir,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            return _conversation(process, msgspec.json.encode(question), progress, log)
        finally:
            process.kill()
            process.wait()


def _conversation(
    process: subprocess.Popen[bytes], question: bytes, progress: Progress, log: IO[bytes]
) -> Answer:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(question)
        process.stdin.close()
    except BrokenPipeError:  # it ended at once; its log says why
        pass
    for line in process.stdout:
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise UserError(answer.error)
        if not answer.progress:
            return answer
        progress(answer.progress)
    log.seek(0)
    words = [text.strip() for text in log.read().decode("utf-8", "replace").splitlines()]
    last = next((text for text in reversed(words) if text), f"exit status {process.wait()}")
    raise UserError(f"The model could not be asked: {last}")


def _environment() -> dict[str, str]:
    """Ours, plus the way to an engine that runs from a checkout instead of site-packages."""
    environment = dict(os.environ)
    home = str(Path(engine.__file__).parent.parent)
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        paths = [home, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


# ---------------------------------------------------------------- in the process with the model


def reply(question: Question, progress: Progress) -> Answer:
    """Load base and adapters, and ask them about every maze."""
    from engine import presets
    from engine.llm import loading

    run_dir = Path(question.run_dir)
    file = run_dir / "preset.toml"
    preset = presets.convert(
        msgspec.toml.decode(file.read_bytes(), type=dict[str, Any]), str(file), run_dir
    )
    assert isinstance(preset, LlmPreset)
    model = preset.model
    lora = loading.LoraSettings(model.lora.rank, model.lora.alpha, model.lora.dropout)
    progress(f"Loading {model.name} ({model.quantization}), which takes some seconds.")
    loaded = loading.load_model(model.name, model.quantization, model.device, lora)
    loading.load_adapter(loaded, run_dir / ADAPTER)
    mazes = [maze for split in question.splits for maze in split]
    progress(f"Asking it about {'a maze' if len(mazes) == 1 else f'{len(mazes)} mazes'}.")
    if question.want == "routes":
        return Answer(sampled=routes(loaded, preset, question.splits))
    if model.policy == "plan":
        return Answer(policies=first_moves(loaded, preset, mazes).tolist())
    return Answer(policies=tables(loaded, preset, mazes).tolist())


def tables(loaded: Any, preset: Any, mazes: Sequence[Maze]) -> Array:
    """π [W, O, A] of a loaded model as its adapters are; `preset` says what the model is told."""
    import torch

    from engine.llm.action_policy import ActionPolicy
    from engine.llm.look import at_observations
    from engine.llm.prompts import action_prompts

    model = preset.model
    mdps = build_mdps(mazes)
    prompts = action_prompts(
        list(zip(mazes, mdps, strict=True)), loaded.tokenizer, model.observation_text
    )
    budget = model.tokens_at_once(loaded.device.type)
    policy = ActionPolicy(loaded.model, temperature=TEMPERATURE, token_budget=budget)
    asked = torch.softmax(policy.table(prompts).logits.double().cpu(), -1).numpy()
    return at_observations(prompts.row, asked, 1.0 / mdps[0].n_actions)


def first_moves(loaded: Any, preset: Any, mazes: Sequence[Maze]) -> Array:
    """[W, O, A] how likely each move is to be the first of a route from each cell, computed from
    the words' probabilities; what begins otherwise, or ends at once, is left out."""
    from engine.llm.plan_policy import PlanPolicy, move_words
    from engine.llm.prompts import deciding_states, plan_prompt
    from engine.llm.sampling import end_tokens

    model, ends = preset.model, end_tokens(loaded.model, loaded.tokenizer)
    mdps = build_mdps(mazes)
    n_actions = mdps[0].n_actions
    table: Array = np.full((len(mazes), mdps[0].n_observations, n_actions), 1.0 / n_actions)
    for w, (maze, mdp) in enumerate(zip(mazes, mdps, strict=True)):
        states = deciding_states(mdp)
        asked = [
            plan_prompt(maze, mdp, loaded.tokenizer, int(state), model.observation_text)
            for state in states
        ]
        policy = PlanPolicy(
            loaded.model,
            loaded.tokenizer,
            temperature=TEMPERATURE,
            words=move_words(asked[0], ends) if model.words == "moves" else None,
            token_budget=model.tokens_at_once(loaded.device.type),
        )
        prompts = [prompt.tokens for prompt in asked for _ in range(n_actions)]
        words = [word for prompt in asked for word in prompt.word_tokens]
        log_p = policy.log_probs(prompts, words).double().sum(-1).reshape(-1, n_actions)
        table[w, mdp.observation[states]] = log_p.softmax(-1).numpy()
    return table


def routes(loaded: Any, preset: Any, splits: Sequence[Sequence[Maze]]) -> list[Sampled]:
    """Figures of `ROUTES` routes a maze, sampled at temperature 1 with the preset's seed."""
    from engine.llm.plan_figures import MOST_MAZES, figures_of
    from engine.llm.plan_judging import RouteWriter, stream
    from engine.llm.plan_policy import PlanPolicy, move_words
    from engine.llm.sampling import end_tokens
    from engine.llm.worlds import WorldSet

    model, ends = preset.model, end_tokens(loaded.model, loaded.tokenizer)
    found = []
    for n, mazes in enumerate(splits):
        split = WorldSet("train", 0, tuple(mazes), tuple(build_mdps(mazes)), preset.algorithm.gamma)
        told = model.observation_text
        writer = RouteWriter(split, loaded.tokenizer, preset.reward, ends, told)
        words = move_words(writer.prompt(*writer.all_asks([0])[0]), ends)
        policy = PlanPolicy(
            loaded.model,
            loaded.tokenizer,
            temperature=TEMPERATURE,
            max_tokens=model.max_tokens,
            words=words if model.words == "moves" else None,
        )
        numbers = stream(preset.run.seed, 0, STREAM, n)
        count = ROUTES * min(len(mazes), MOST_MAZES)
        figures, stderr = figures_of(writer, policy, count, numbers)
        found.append(Sampled({name: of.tolist() for name, of in figures.items()}, stderr))
    return found


def main() -> int:
    """Answer the question on stdin, line by line on stdout, where nothing else may write."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        channel.write(msgspec.json.encode(answer).decode() + "\n")
        channel.flush()

    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        answer = reply(question, lambda text: say(Answer(progress=text)))
    except UserError as error:
        say(Answer(error=str(error)))
        return 1
    except ModuleNotFoundError as error:
        text = f"Asking a language model needs {error.name}, which is not installed: "
        say(Answer(error=text + INSTALL_LLM))
        return 1
    say(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
