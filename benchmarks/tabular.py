"""Environment steps per second with learning: Ice Maze, a plain Gymnasium + NumPy loop, and C.

Q-learning on slippery FrozenLake 4x4, one core. Ice Maze runs as users run it: a worker process
that records curves, episodes, policies and checkpoints into its run store. The other two only
learn. All alternate in one run; the success of every result is computed exactly and must reach
0.70. Then every algorithm on the shelf against Q-learning, growth with the maze's size, and the
first compile of every kernel.

    python benchmarks/tabular.py [--rounds 3] [--seconds 4] [--only-bars]

Exits 1 when a bar is missed: 300 times the Gymnasium loop, half the C loop, 5 s to compile.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gymnasium
import numpy as np

from engine import factory, presets
from engine.algorithms import registry
from engine.config.preset import Preset
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.mdp import MDP
from engine.exact.evaluate import evaluate, greedy
from engine.runs import launch
from engine.runs.reader import RunReader

GYMNASIUM_BAR, C_BAR, SUCCESS_BAR = 300.0, 0.5, 0.70
COMPILE_BAR = 5.0
PRESET = "q-learning-slippery"
LAKE = 'map = "SFFF\\nFHFH\\nFFFH\\nHFFG"\nslip = 0.6666666666666666'
SMALL = """
title = "benchmark"
[maze]
{maze}
[algorithm]
name = "{name}"
[budget]
env_steps = 2_000_000
"""


def ice_maze(runs: Path, seconds: float) -> tuple[float, float]:
    """Steps per second over all agents, and the success rate, of a real run."""
    preset = presets.load(PRESET, ["budget.env_steps=4000000000", f"budget.seconds={seconds}"])
    with RunReader(launch.launch(preset, "benchmark", runs_dir=runs)) as reader:
        while not reader.head().ended:
            time.sleep(0.1)
        figures = reader.final()
    return figures["total_env_steps"] / figures["seconds"], figures["success_rate"]


def gymnasium_loop(steps: int) -> tuple[float, float]:
    """The loop everybody writes. Its success is that of what it learned in these few steps."""
    env = gymnasium.make("FrozenLake-v1", is_slippery=True)
    rng = np.random.default_rng(0)
    q = np.zeros((16, 4))
    state, _ = env.reset(seed=0)
    start = time.perf_counter()
    for n in range(steps):
        epsilon = max(0.2, 1.0 - 0.8 * n / 100_000)
        alpha = 0.2 * (0.005 / 0.2) ** min(1.0, n / 400_000)
        if rng.random() < epsilon:
            action = int(rng.integers(4))
        else:
            action = int(rng.choice(np.flatnonzero(q[state] == q[state].max())))
        following, reward, terminated, truncated, _ = env.step(action)
        future = 0.0 if terminated else q[following].max()
        q[state, action] += alpha * (reward + 0.99 * future - q[state, action])
        state = following
        if terminated or truncated:
            state, _ = env.reset()
    return steps / (time.perf_counter() - start), success(q)


def c_loop(program: Path, table: str, steps: int) -> tuple[float, float]:
    """The same loop in C."""
    out = subprocess.run(
        [program, str(steps), "1"], input=table, capture_output=True, text=True, check=True
    ).stdout.split()
    q = np.array([float(word) for word in out[1:]]).reshape(16, 4)
    return steps / float(out[0]), success(q)


def lake() -> MDP:
    """The slippery 4x4 lake."""
    return build_mdp(build_mazes(presets.load(PRESET).maze)[0][1])


def success(q: np.ndarray) -> float:
    """The exact success rate of the greedy policy of a table."""
    return float(evaluate(lake(), greedy(q), 0.99).success_rate)


def build_c(folder: Path) -> Path | None:
    """Compile the bundled source; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "q_learning"
    source = Path(__file__).with_name("q_learning.c")
    subprocess.run([compiler, "-O3", "-o", program, source, "-lm"], check=True)
    return program


def c_table() -> str:
    """The transition table as the C program reads it."""
    mdp = lake()
    cumulative = np.cumsum(mdp.probability, -1)
    cumulative[cumulative > 1 - 1e-12] = 1.0
    rows = zip(
        mdp.next_state.ravel(), mdp.reward.ravel(), mdp.terminal.ravel(), cumulative.ravel(),
        strict=True,
    )  # fmt: skip
    return "\n".join(f"{s} {float(r)!r} {int(t)} {float(c)!r}" for s, r, t, c in rows)


def bars(rounds: int, seconds: float) -> bool:
    """The three programs, alternating; whether every bar holds."""
    found: dict[str, list[tuple[float, float]]] = {"Ice Maze": [], "Gymnasium": [], "C": []}
    with tempfile.TemporaryDirectory() as folder:
        program, table = build_c(Path(folder)), c_table()
        if program is None:
            print("no C compiler (gcc or cc): the comparison with C is left out")
        ice_maze(Path(folder), 1.0)  # compile the kernels
        for _ in range(rounds):
            found["Ice Maze"].append(ice_maze(Path(folder), seconds))
            found["Gymnasium"].append(gymnasium_loop(600_000))
            if program is not None:
                found["C"].append(c_loop(program, table, 60_000_000))
    held = True
    for name, results in found.items():
        if results:
            rate = statistics.median(r for r, _ in results)
            worst = min(s for _, s in results)
            print(f"{name:10} {rate / 1e6:9.3f} M steps/s   success {worst:.4f} (worst round)")
            held &= worst >= SUCCESS_BAR or name == "Gymnasium"
    for name, bar in (("Gymnasium", GYMNASIUM_BAR), ("C", C_BAR)):
        pairs = [
            ours / theirs
            for (ours, _), (theirs, _) in zip(found["Ice Maze"], found[name], strict=False)
        ]
        if pairs:
            ratio = statistics.median(pairs)
            held &= ratio >= bar
            print(f"Ice Maze / {name}: {ratio:.2f} times (bar {bar:g})")
    return held


def rate_of(preset: Preset, steps: int) -> float:
    """Steps per second over all agents of a learner with its recording, kernels compiled."""
    best = 0.0
    for _ in range(2):
        learner = factory.make_learner(preset)
        learner.begin()
        learner.advance(200)
        before, start = learner.counters.total_env_steps, time.perf_counter()
        learner.advance(steps)
        done = learner.counters.total_env_steps - before
        best = max(best, done / (time.perf_counter() - start))
    return best


def shelf() -> None:
    """Every algorithm that moves against Q-learning, on the slippery lake."""
    q_learning = rate_of(presets.load(PRESET, ["budget.env_steps=400000"]), 200_000)
    print(f"\n{'algorithm':22}{'M steps/s':>10}{'of Q-learning':>15}")
    for algorithm in registry.TABLES.all():
        if algorithm.family == "planning":
            continue
        preset = presets.parse(SMALL.format(maze=LAKE, name=algorithm.name))
        rate = rate_of(preset, 50_000)
        print(f"{algorithm.name:22}{rate / 1e6:10.2f}{rate / q_learning:15.2f}")


def growth() -> None:
    """Q-learning on generated mazes of growing size."""
    print(f"\n{'maze':8}{'M steps/s':>10}")
    for size in (4, 8, 16, 32, 64):
        maze = f"size = {size}\nslip = 0.2\nmax_steps = {size * 16}"
        preset = presets.parse(SMALL.format(maze=maze, name="q-learning"))
        print(f"{size:2}x{size:<5}{rate_of(preset, 500_000) / 1e6:10.2f}")


COMPILE = """
import sys, time
from engine import factory, presets
learner = factory.make_learner(presets.parse(sys.argv[1]))
start = time.perf_counter()
learner.prepare()
print(time.perf_counter() - start)
"""


def compiles() -> bool:
    """Seconds of each algorithm's first compile, exact figures included, and of its second start;
    each in a process of its own. Whether the first ones hold the bar."""
    print(f"\n{'algorithm':22}{'first compile':>15}{'second start':>14}   seconds")
    held = True
    for algorithm in registry.TABLES.all():
        text = SMALL.format(maze=LAKE, name=algorithm.name)
        text = text.replace("env_steps", "updates") if algorithm.family == "planning" else text
        with tempfile.TemporaryDirectory() as cache:
            first, second = (
                float(
                    subprocess.run(
                        [sys.executable, "-c", COMPILE, text],
                        env={**os.environ, "ICEMAZE_CACHE_DIR": cache},
                        capture_output=True, text=True, check=True,
                    ).stdout
                )
                for _ in range(2)
            )  # fmt: skip
        held &= first <= COMPILE_BAR
        print(f"{algorithm.name:22}{first:15.2f}{second:14.2f}")
    print(f"first compile: bar {COMPILE_BAR:g} s, {'held' if held else 'MISSED'}")
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only-bars", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})  # one core, workers included
    held = bars(arguments.rounds, arguments.seconds)
    if not arguments.only_bars:
        shelf()
        growth()
        held &= compiles()
    return int(not held)


if __name__ == "__main__":
    raise SystemExit(main())
