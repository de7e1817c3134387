"""Language models: an update of Ice Maze against the same update done as others do it.

One process, alternating, the same model and settings, adapters put back after every measurement so
that each does the same work; before anything is timed it is checked that all compute the same.

route   One GRPO update of 16 completions of at most 24 tokens (or --tokens), any token allowed: Ice
        Maze (prompt read once, packed training pass) against TRL's GRPOTrainer. TRL is given
        float32 adapters and no gradient checkpointing, as Ice Maze has them; neither is its
        default. Four rows: --tokens 24 and 128, --quantization nf4 and none.
action  64 episodes on the 4x4 lake without slip and one GRPO update of them: packed; each state
        once, padded; one padded batch over the distinct states per step, and one to train on; and
        as TRL's environment rollouts do it: per step and episode the prompt with all that was said
        so far, regenerated, and then a pass over each whole episode. All play the episodes that
        the packed policy drew. The last is measured on a few of them, of evenly spread lengths, and
        scaled by tokens; it is the least such a rollout can cost (no tool-call markup, one token a
        move, logits of the four moves only), not TRL's own code.
solve   Updates, and seconds after loading, until the exact success on this lake is 0.95, with the
        preset `llm-grpo-maze` as it is shipped; the median of three seeds.

    python benchmarks/llm.py [--only route|action|solve] [--rounds 3] [--quantization nf4|none]
        [--tokens 24]

Tokens are those the model is fed, padding included, three times where gradients follow (a backward
pass costs about two forward passes). Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import time
from importlib.metadata import version

import numpy as np
import torch
from llm_action import action
from llm_measure import learner_of
from llm_routes import routes

from engine.core.errors import UserError
from engine.learning.events import Evaluation
from engine.llm.learner import LlmLearner
from engine.llm.models import device as devices

SUCCESS, UPDATES_BAR, SECONDS_BAR = 0.95, 30, 60.0
SEEDS = (0, 1, 2)


def solve(quantization: str) -> bool:
    """Updates and seconds until the exact success is 0.95, from the first look on."""
    print(f"\nuntil the exact success is {SUCCESS:g}")
    found: list[tuple[float, float]] = []
    for seed in SEEDS:
        learner: LlmLearner = learner_of(quantization, [f"run.seed={seed}"])
        started, reached = time.perf_counter(), False
        events = learner.begin()
        while not reached and not learner.done:
            events = learner.advance(1)
            reached = any(
                event.figures["success_rate"].mean >= SUCCESS
                for event in events
                if isinstance(event, Evaluation)
            )
        seconds = time.perf_counter() - started
        end = "" if reached else " without success"
        print(f"  seed {seed}: {learner.run.clock} updates, {seconds:.1f} s{end}")
        found.append((learner.run.clock, seconds) if reached else (np.inf, np.inf))
    updates, seconds = (statistics.median(values) for values in zip(*found, strict=True))
    print(
        f"  median: {updates:g} updates (bar at most {UPDATES_BAR}), "
        f"{seconds:.1f} s (bar at most {SECONDS_BAR:g})"
    )
    return bool(updates <= UPDATES_BAR and seconds <= SECONDS_BAR)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["route", "action", "solve"])
    parser.add_argument("--rounds", type=int, default=3, help="one more warms up")
    parser.add_argument("--quantization", choices=["nf4", "none"], default="nf4")
    parser.add_argument(
        "--episodes", type=int, default=4, help="measured per step and episode, of 64"
    )
    parser.add_argument("--tokens", type=int, default=24, help="most of a route's completion")
    wanted = parser.parse_args()
    if wanted.tokens < 1:
        parser.error("--tokens must be at least 1")
    if wanted.rounds < 1 or not 1 <= wanted.episodes <= 64:
        parser.error("--rounds must be at least 1, and --episodes 1 to 64")
    if wanted.only in (None, "route") and importlib.util.find_spec("trl") is None:
        parser.error(
            "TRL is not installed, so there is nothing to compare route policies with; "
            "pip install -e '.[llm,bench]', or leave them out with --only action (or solve)."
        )
    packages = ("torch", "transformers", "peft", "bitsandbytes", "trl")
    known = [name for name in packages if importlib.util.find_spec(name)]
    choice = devices.choose("auto")
    print(
        f"SmolLM2-135M, {wanted.quantization}, {choice.device}, {choice.dtype}, "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in known)
    )
    held = True
    try:
        if wanted.only in (None, "route"):
            held &= routes(wanted.rounds, wanted.quantization, wanted.tokens)
        if wanted.only in (None, "action"):
            held &= action(wanted.rounds, wanted.quantization, wanted.episodes)
        if wanted.only in (None, "solve"):
            held &= solve(wanted.quantization)
    except UserError as error:  # no way to fetch the model, say
        raise SystemExit(str(error)) from error
    return int(not held)


if __name__ == "__main__":
    raise SystemExit(main())
