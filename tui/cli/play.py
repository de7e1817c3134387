"""`icemaze play`: walk a maze yourself, or watch what a run has learned walk it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.errors import UserError
from tui.cli.options import Json, RunId
from tui.cli.output import complain, emit
from tui.cli.own import Trust, trusting

if TYPE_CHECKING:
    from engine.runs.evaluation import PlayedWorld
    from engine.runs.reader import RunReader


def play(
    run: RunId = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            show_default=False,
            help="Change the maze first: --set maze.slip=0.5 (repeat for more).",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", show_default=False, min=0, help="Seed of the ice and the moves."),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="The policy makes its likeliest moves.")
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Walk the maze of a run with the arrow keys, or let its trained policy walk.

    A language model that writes whole routes plans anew in every cell, and makes the first move.

    With --json, and without a terminal, the policy plays one episode: a line for every move.
    """
    # start-up time
    from engine.runs import library
    from engine.runs.evaluation import load_own, played_worlds
    from engine.runs.reader import RunReader

    path = library.find_run(run)
    if not as_json and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "Playing needs a terminal. Without one: `icemaze play RUN --json` lets the policy play "
            "one episode, `icemaze eval RUN` says what it is worth."
        )
    with RunReader(path) as reader:
        trusting(lambda: load_own(reader), trust, as_json)
        worlds = played_worlds(reader, settings or [], complain)
        if as_json:
            _play_one(reader, worlds[0], seed, greedy)
            return
        # start-up time
        from tui.play_app import PlayApp

        PlayApp(reader.info(), worlds, seed=seed, greedy=greedy).run()


def _play_one(reader: RunReader, world: PlayedWorld, seed: int | None, greedy: bool) -> None:
    """One episode of the policy as JSON lines."""
    # start-up time
    from engine.env.walk import Walk
    from engine.exact.evaluate import evaluate, optimal_figures

    maze, gamma = world.maze, reader.info().preset.algorithm.gamma
    emit(
        event="started", run=reader.id, path=str(reader.path), seed=seed, greedy=greedy,
        map=list(maze.rows), slip=maze.slip, max_steps=world.mdp.max_steps,
        held_out=world.held_out,
    )  # fmt: skip
    walk = Walk(world.mdp, gamma, seed)
    while not walk.over:
        chances = world.policy[world.mdp.observation[walk.state]]
        done = walk.move(walk.choose(world.policy, greedy=greedy), by_policy=True)
        emit(
            event="step", step=len(walk.steps), **_place(world, done.state),
            action=maze.actions[done.action],
            probabilities=dict(zip(maze.actions, chances.tolist(), strict=True)),
            reward=done.reward, chance=done.chance,
            next=_place(world, done.next_state),
        )  # fmt: skip
    emit(
        event="finished", success=walk.success, terminated=walk.terminated,
        truncated=walk.truncated, length=len(walk.steps),
        **{"return": walk.total_return}, score=walk.score,
        expected_return=float(evaluate(world.mdp, world.policy, gamma).expected_return),
        optimal_return=optimal_figures(world.mdp, gamma).optimal_return,
    )  # fmt: skip


def _place(world: PlayedWorld, state: int) -> dict[str, Any]:
    """A state; on a map with its row and column, from 1."""
    if not world.maze.rows:
        return {"state": state}
    row, column = world.maze.cell(state)
    return {"state": state, "row": row + 1, "column": column + 1}
