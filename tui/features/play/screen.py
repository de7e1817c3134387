"""Playing: a maze that one walks with the arrow keys, beside the policy that has learned it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static

from engine.algorithms.registry import algorithm_of
from engine.core.errors import UserError
from engine.env.build_mdp import vetoed_moves
from engine.env.walk import Walk, WalkedStep
from engine.exact.evaluate import Evaluation, evaluate, greedy, optimal_figures, state_values
from engine.exact.solve import optimal_path, solve
from engine.learning.events import Policy, Step, World
from engine.runs.evaluation import PlayedWorld
from engine.runs.records import Head, RunInfo
from tui import kinds
from tui.features.play.keys import KEYS
from tui.maze.maze_view import MazeView
from tui.model.snapshot import Snapshot
from tui.ui import glyphs
from tui.ui.key_bar import KeyBar
from tui.ui.text import clean, number, percent

WAYS = {
    "left": ("left", "west"),
    "down": ("down", "south"),
    "right": ("right", "east"),
    "up": ("up", "north"),
}
"""What an arrow key is called among the actions of a maze."""
MAP_LAYER, POLICY_LAYER = 1, 4
MOVES_PER_SECOND = 3.0
BAR = 10
"""Cells of the bar behind a probability."""
WHO = {"you": "you", "policy": "policy", "both": "both of you"}


class PlayScreen(Screen[None]):
    """One maze, one episode at a time. You and the policy may take turns."""

    DEFAULT_CSS = """
    PlayScreen {
        & #told { height: 2; padding: 0 1; background: $panel; }
        & MazeView { width: 1fr; padding: 0 1; }
        & #beside { width: 35; height: 1fr; padding: 0 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    def __init__(
        self,
        info: RunInfo,
        worlds: Sequence[PlayedWorld],
        *,
        seed: int | None = None,
        greedy: bool = False,
    ) -> None:
        super().__init__()
        self.info, self.worlds, self.seed = info, worlds, seed
        self.greedy = greedy
        self.gamma = info.preset.algorithm.gamma
        self.tally: dict[str, tuple[int, int]] = {}
        """Episodes won and played, by who walked."""
        self.place = 0
        self._counted = False
        self._player: Timer | None = None
        self._enter(0)

    # ------------------------------------------------------------ the maze

    def _enter(self, place: int) -> None:
        """Go into one of the mazes."""
        self.place = place
        world = self.worlds[place]
        self.walk = Walk(world.mdp, self.gamma, self.seed)
        self.replaced = vetoed_moves(world.maze, world.mdp)  # by a shield, if there is one
        self.solution = solve(world.mdp, self.gamma)
        self.best = optimal_figures(world.mdp, self.gamma, self.solution)
        self.exact: Evaluation = evaluate(world.mdp, world.policy, self.gamma)
        likeliest = evaluate(world.mdp, greedy(world.policy), self.gamma)
        self.greedy_return = float(likeliest.expected_return)
        self.path = tuple(optimal_path(world.mdp, self.solution))
        self.learned = self._as_event(world)
        self._counted = False

    def _as_event(self, world: PlayedWorld) -> Policy:
        """What the grid draws: π, and what it is really worth in each cell."""
        mdp = world.mdp
        try:
            of_state = state_values(mdp, world.policy, self.gamma)
        except UserError:  # γ = 1 and a policy that may never end
            of_state = np.full(mdp.n_states, math.nan)
        met = np.flatnonzero(self.solution.reachable)  # of states that look alike the mean
        seen = mdp.observation[met]
        alike = np.maximum(np.bincount(seen, minlength=mdp.n_observations), 1)
        values = np.bincount(seen, of_state[met], mdp.n_observations) / alike
        return Policy(
            step=0,
            target=world.policy,
            behaviour=world.policy,
            q=None,
            values=values,
            visits=np.zeros(world.policy.shape, np.int64),
        )

    @property
    def plans(self) -> bool:
        """Whether the policy writes whole routes: then it plans anew in every cell."""
        return kinds.of(self.info.preset).writes_routes

    @property
    def world(self) -> PlayedWorld:
        """The maze one is in, and the policy in it."""
        return self.worlds[self.place]

    # ------------------------------------------------------------ drawing

    def compose(self) -> ComposeResult:
        yield Static(id="told", markup=False)
        with Horizontal():
            grid = MazeView()
            grid.can_focus = False  # its arrow keys would scroll
            yield grid
            yield Static(id="beside", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(KeyBar).with_palette = False
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self._count()
        self.query_one(MazeView).show(self._snapshot())
        self.query_one("#told", Static).update(_shown(self._told()))
        self.query_one("#beside", Static).update(_shown("\n".join(self._beside())))
        self.refresh_bindings()

    def _snapshot(self) -> Snapshot:
        """This moment as the maze grid wants it."""
        world = self.world
        return Snapshot(
            run_id=self.info.id,
            preset=self.info.preset,
            algorithm=algorithm_of(self.info.preset),
            head=Head(state="finished"),
            at=len(self.walk.steps),
            following=True,
            world=World(step=0, id=self.place, split="train", maze=world.maze),
            mdp=world.mdp,
            optimum=self.solution,
            optimal_figures=self.best,
            optimal_path=self.path,
            policy=self.learned,
            evaluation=None,
            curves={},
            episodes=(),
            steps=tuple(self._event(t, step) for t, step in enumerate(self.walk.steps)),
            notes=(),
        )

    def _event(self, t: int, step: WalkedStep) -> Step:
        """A move as the grid's trail wants it: nothing was learned from it."""
        seen = self.world.mdp.observation
        last = t + 1 == len(self.walk.steps)
        return Step(
            step=t + 1,
            episode=0,
            t=t,
            state=step.state,
            observation=int(seen[step.state]),
            action=step.action,
            reward=step.reward,
            next_state=step.next_state,
            next_observation=int(seen[step.next_state]),
            terminated=last and self.walk.terminated,
            success=last and self.walk.success,
            before=math.nan,
            target=math.nan,
            error=math.nan,
            after=math.nan,
            step_size=math.nan,
            gamma=self.gamma,
            exploration=0.0,
            bootstrap=0.0,
            values=(),
            next_values=(),
        )

    def _told(self) -> str:
        """Two lines on top: where one is, and what to do."""
        title = clean(self.info.preset.title)
        if len(self.worlds) > 1:
            kind = "held out" if self.world.held_out else "trained on"
            title += f", maze {self.place + 1} of {len(self.worlds)} ({kind})"
        if not self.walk.over and self.plans:
            hint = "Space: the model plans a route from here and makes its first move; p goes on."
        elif not self.walk.over:
            hint = "Walk with the arrow keys; Space lets the policy move, p walk on; r restarts."
        elif self.walk.success:
            hint = "The prize! r begins another episode."
        elif self.walk.terminated:
            hint = "It is over, without the prize. r begins another episode."
        else:
            hint = "The time is up. r begins another episode."
        return f"{title}\n{hint}"

    def _beside(self) -> list[str]:
        """The column beside the maze: the policy here, the last move, and the account."""
        walk = self.walk
        whose = "likeliest move" if self.greedy else "draws its move"
        what = "Its route from here begins" if self.plans else f"The policy here ({whose})"
        lines = [what, *self._chances(), ""]
        lines += [f"Step {len(walk.steps)} of at most {walk.mdp.max_steps}", *self._last_move(), ""]
        lines += [
            f"{'return of this episode':24}{number(walk.total_return):>8}",
            f"{'the policy expects':24}{number(float(self.exact.expected_return)):>8}",
            f"{'  with likeliest moves':24}{number(self.greedy_return):>8}",
            f"{'the optimum expects':24}{number(self.best.optimal_return):>8}",
            f"{'success of the policy':24}{percent(float(self.exact.success_rate)):>8}",
            f"{'success of the optimum':24}{percent(self.best.success_rate):>8}",
        ]
        if self.tally:
            lines.append("")
        for who, (won, played) in self.tally.items():
            lines.append(f"{WHO[who]}: {won} of {played} episodes won")
        return lines

    def _chances(self) -> list[str]:
        """Each action with its probability, as a number and as a bar."""
        if self.walk.over:
            return ["  (nothing to decide any more)"] + [""] * (self.world.mdp.n_actions - 1)
        maze = self.world.maze
        chances = self.world.policy[self.world.mdp.observation[self.walk.state]]
        block = glyphs.current().tiles["#"]
        return [
            f" {arrow} {clean(name):9.9} {percent(chance):>7}  {block * round(BAR * chance)}"
            for arrow, name, chance in zip(maze.arrows, maze.actions, chances, strict=True)
        ]

    def _last_move(self) -> list[str]:
        if not self.walk.steps:
            return ["", ""]
        last = self.walk.steps[-1]
        who = "The policy" if last.by_policy else "You"
        move = clean(self.world.maze.actions[last.action])
        moved = f"{who} moved {move}: {number(last.reward)}"
        chance = "" if last.chance == 1 else f"The ice took it so with {percent(last.chance)}"
        if self.replaced[last.state, last.action]:
            moved = f"{who} chose {move}: {number(last.reward)}"
            stays = last.next_state == last.state
            chance = f"The shield {'held that back' if stays else 'made a safer move'}"
        return [moved, chance]

    # ------------------------------------------------------------ moving

    def action_move(self, way: str) -> None:
        """You move in a direction, if the maze knows it."""
        names = [name.lower() for name in self.world.maze.actions]
        known = [names.index(name) for name in WAYS[way] if name in names]
        if known:
            self.action_choose(known[0])

    def action_choose(self, action: int) -> None:
        """You take an action."""
        self._stop()
        if not self.walk.over and action < self.world.mdp.n_actions:
            self.walk.move(action)
            self._draw()

    def action_policy_moves(self) -> None:
        """The policy makes a move."""
        self._stop()
        self._policy_moves()

    def _policy_moves(self) -> None:
        if self.walk.over:
            self._stop()
            return
        self.walk.move(self.walk.choose(self.world.policy, greedy=self.greedy), by_policy=True)
        self._draw()

    def action_watch(self) -> None:
        """The policy walks on until the end of the episode, or until it is stopped."""
        if self._player is not None:
            self._stop()
            return
        if self.walk.over:
            self.action_restart()
        self._player = self.set_interval(1 / MOVES_PER_SECOND, self._policy_moves)

    def _stop(self) -> None:
        if self._player is not None:
            self._player.stop()
            self._player = None

    def action_restart(self) -> None:
        """Another episode in the same maze."""
        self._stop()
        self.walk.restart()
        self._counted = False
        self._draw()

    def action_next_maze(self) -> None:
        """Another maze of the run's sets."""
        self._stop()
        self._enter((self.place + 1) % len(self.worlds))
        self._draw()

    def action_arrows(self) -> None:
        """The policy of every cell, or the map alone."""
        grid = self.query_one(MazeView)
        shown = grid.layer_number == POLICY_LAYER
        grid.layer_number = MAP_LAYER if shown else POLICY_LAYER
        self._draw()

    def action_greedy(self) -> None:
        """Likeliest moves, or drawn ones."""
        self.greedy = not self.greedy
        self._draw()

    def action_leave(self) -> None:
        """Leave."""
        self.app.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered."""
        if action == "next_maze":
            return len(self.worlds) > 1
        if action == "choose":
            return isinstance(parameters[0], int) and parameters[0] < self.world.mdp.n_actions
        return True

    def _count(self) -> None:
        """Put an episode that is over into the tally, once."""
        if self._counted or not self.walk.over:
            return
        self._counted = True
        by = {step.by_policy for step in self.walk.steps}
        who = "both" if len(by) > 1 else "policy" if True in by else "you"
        won, played = self.tally.get(who, (0, 0))
        self.tally[who] = (won + self.walk.success, played + 1)


def _shown(text: str) -> Content:
    return Content(glyphs.plain(text))
