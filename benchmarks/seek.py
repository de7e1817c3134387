"""How long a seek takes in a run of a million recorded episodes.

    python benchmarks/seek.py [EPISODES] [RUN]

Without RUN it makes such a run. A table learner records ever fewer episodes, some hundred of a
million, so the rows come from the store's own writer: every single episode, 20,000 recording points
with 25 figures each, 1,000 policies, 200 notes. That is what language models and logs of other
trainers come near to, and a worst case for tables.

A seek is what happens from the key to the new picture's data: the place in the record, and the
snapshot of all panels. Measured are 100 seeks to random steps, 100 jumps to the next mark of every
kind and 100 played moves back and forth; then the same with the trainer at 160x50 drawing it, from
the key that jumps until the screen has drawn. Prints median and worst; exits 1 where a seek to a
random step takes more than 50 ms.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time
from typing import NamedTuple

from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from engine import factory, presets
from engine.learning.events import Episode, Evaluation, Metric, Note, Policy, Update
from engine.learning.learner import Counters
from engine.runs.launch import create_run
from engine.runs.past.timeline import KINDS, Kind
from engine.runs.store import RunWriter
from tui.app import IceMazeApp
from tui.features.trainer.screen import TrainerScreen
from tui.model.replay import Replay
from tui.model.run_watch import RunWatch

POINTS, FIGURES, POLICIES, NOTES = 20_000, 25, 1_000, 200
SEEKS, BAR_MS = 100, 50.0
MOVES = 6


class Took(NamedTuple):
    """How long something took, in milliseconds."""

    wall: float
    cpu: float
    """Of this thread: what it would take on a machine that does nothing else."""


def make(folder: Path, episodes: int) -> Path:
    """A run with so many recorded episodes of six moves each."""
    preset = presets.load("q-learning", ["run.agents=1", f"budget.env_steps={MOVES * episodes}"])
    learner = factory.make_learner(preset)
    begun = learner.begin()
    events = [*begun, *learner.advance(20_000)]
    kinds = {type(event): event for event in events}
    episode, policy, evaluation = kinds[Episode], kinds[Policy], kinds[Evaluation]
    assert isinstance(episode, Episode) and isinstance(policy, Policy)
    assert isinstance(evaluation, Evaluation)
    shape = [episode.steps[min(t, len(episode.steps) - 1)] for t in range(MOVES)]
    figures = {f"figure_{i}": Metric(0.5, 0.4, 0.6, 1) for i in range(FIGURES)}
    run_dir = create_run(preset, "q-learning", runs_dir=folder)
    writer = RunWriter(run_dir)
    writer.write([*begun])
    for index in range(episodes):
        first = MOVES * index
        steps = tuple(
            replace(step, step=first + t + 1, t=t, episode=index) for t, step in enumerate(shape)
        )
        step, counts = first + MOVES, (index, index + 1, first + MOVES)
        writer.write(
            [replace(episode, step=step, index=index, steps=steps, returns_to_go=(1.0,) * MOVES)]
        )
        if index % max(episodes // POINTS, 1) == 0:
            update = Update(
                step=step, updates=counts[0], episodes=counts[1], total_env_steps=counts[2],
                metrics=figures,
            )  # fmt: skip
            writer.write([update, replace(evaluation, step=step)])
        if index % max(episodes // POLICIES, 1) == 0:
            writer.write([replace(policy, step=step)])
        if index % max(episodes // NOTES, 1) == 0:
            writer.write([Note(step=step, level="info", text=f"After {index:,} episodes.")])
        if index % 10_000 == 0:
            writer.commit()
    end = MOVES * episodes
    counters = Counters(
        step=end, env_steps=end, episodes=episodes, updates=end, total_env_steps=end
    )
    writer.save_checkpoint(counters, learner.state(), first=True)
    writer.set_meta(
        state="finished",
        counters={name: getattr(counters, name) for name in counters.__struct_fields__},
    )
    writer.commit()
    writer.close()
    return run_dir


def seeks(watch: RunWatch, moves: list[Callable[[Replay], bool]]) -> list[Took]:
    """Milliseconds that each move and the snapshot after it take."""
    took = []
    for move in moves:
        begun, cpu = perf_counter(), thread_time()
        watch.go(move)
        news = watch.look()
        took.append(Took(1000 * (perf_counter() - begun), 1000 * (thread_time() - cpu)))
        assert not news.unreadable, news.unreadable
    return took


def to(step: int) -> Callable[[Replay], bool]:
    return lambda replay: replay.until(step)


def to_next(kind: Kind) -> Callable[[Replay], bool]:
    return lambda replay: replay.mark([kind], 1)


async def drawn(run_dir: Path, steps: list[int]) -> list[Took]:
    """Milliseconds from asking the trainer for a step until it has drawn it."""
    app = IceMazeApp(runs_dir=run_dir.parent, open_run=run_dir)
    took = []
    async with app.run_test(size=(160, 50)) as pilot:
        while not (isinstance(app.screen, TrainerScreen) and app.screen.snapshot):
            await pilot.pause(0.05)
        screen = app.screen
        for step in steps:
            before, begun, cpu = screen.snapshot, perf_counter(), thread_time()
            screen.scrub(step)
            while screen.snapshot is before:
                await asyncio.sleep(0.001)
            done = asyncio.Event()
            screen.call_after_refresh(done.set)
            await done.wait()
            took.append(Took(1000 * (perf_counter() - begun), 1000 * (thread_time() - cpu)))
    return took


def tell(what: str, took: list[Took]) -> None:
    wall, cpu = [each.wall for each in took], [each.cpu for each in took]
    print(
        f"{what:24} median {statistics.median(wall):6.1f} ms  worst {max(wall):6.1f} ms   "
        f"CPU {statistics.median(cpu):6.1f} and {max(cpu):6.1f} ms"
    )


def main() -> int:
    episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        run_dir = Path(sys.argv[2]) if len(sys.argv) > 2 else make(Path(folder), episodes)
        size = (run_dir / "run.db").stat().st_size / 1e6
        print(f"{run_dir.name}: {size:,.0f} MB, made in {perf_counter() - begun:.0f} s")
        begun = perf_counter()
        watch = RunWatch(run_dir)
        shot = watch.look().snapshot
        assert shot is not None
        print(f"first look {1000 * (perf_counter() - begun):.0f} ms")
        choose = random.Random(0)
        steps = [choose.randrange(shot.head.step) for _ in range(SEEKS)]
        took = seeks(watch, [to(step) for step in steps])
        tell(f"{SEEKS} random seeks", took)
        for kind in KINDS:
            jumps = []
            for step in steps[: SEEKS // 5]:
                watch.go(to(step))
                watch.look()
                jumps += seeks(watch, [to_next(kind)])
            tell(f"to the next {kind}", jumps)
        watch.go(to(steps[0]))
        watch.look()
        tell("played moves", seeks(watch, [lambda r: r.step(1)] * 50 + [lambda r: r.step(-1)] * 50))
        watch.close()
        tell("drawn at 160x50", asyncio.run(drawn(run_dir, steps[:30])))
    return 0 if max(each.wall for each in took) <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
