"""Builds snapshots from the run store: the one reader behind live view, replay and time travel."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from engine.algorithms.registry import algorithm_of
from engine.config.preset import ExternalPreset, Preset
from engine.core.errors import UserError
from engine.env.build_mdp import build_mdps
from engine.env.mdp import MDP
from engine.exact.evaluate import OptimalFigures, optimal_figures
from engine.exact.solve import Solution, optimal_path, solve
from engine.learning.events import Episode, Group, Live, Policy, Step, Tuned, World
from engine.runs import stored
from engine.runs.progress import Progress
from engine.runs.reader import RunReader
from engine.runs.records import ENDED, Head, RunState
from engine.runs.schema import DATABASE
from tui.model.snapshot import Counts, Snapshot, Track

SHOWN_EPISODES = 500
"""How many recorded episodes a snapshot lists."""
PARTS = 512
"""Into how many parts the timeline is divided to look where updates and episodes are."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A place in the recording: step `t` of a recorded episode, or of none (then `at` is given)."""

    episode_id: int | None
    t: int
    at: int | None = None
    """The step looked at, where it is later than the one shown: figures and tables are of then."""


@dataclass(frozen=True, slots=True)
class _Solved:
    """A world with what is exactly known about it."""

    world: World
    mdp: MDP
    optimum: Solution
    figures: OptimalFigures
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group of episodes, and the world they were played in."""

    group: Group
    world: World
    mdp: MDP
    optimum: Solution
    optimal_path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupPage:
    """The groups that one update of a language model compared, as far as they are recorded."""

    update: int
    newest: int
    """The newest update that has recorded groups."""
    groups: tuple[ShownGroup, ...]


class LoadsGroups(Protocol):
    """Reads what an update compared, see `SnapshotSource.groups`."""

    def __call__(self, update: int | None, by: int = 0) -> Awaitable[GroupPage | None]: ...


class SnapshotSource:
    """Reads one run. Use it from one thread at a time; nothing here touches the screen."""

    def __init__(self, path: Path) -> None:
        """Raises UserError when there is no readable run in the folder."""
        self.reader = RunReader(path)
        self.state: RunState | None = None
        """What the run was doing at the last look."""
        self._solved: dict[int, _Solved] = {}
        self._mdps: dict[int, MDP] = {}
        self._generation = -1
        self._episode: tuple[int, Episode] | None = None
        self._progress: tuple[tuple[int, int], Progress] | None = None
        self._track: tuple[tuple[int, ...], Track] | None = None

    def close(self) -> None:
        """Close the store."""
        self.reader.close()

    def changed(self) -> bool:
        """Whether the run may look different now. Cheap: nothing is read of an idle run.

        Raises UserError when the run has been deleted, which an open database would not notice.
        """
        if not (self.reader.path / DATABASE).exists():
            raise UserError(f"The run {self.reader.id} has been deleted.")
        if self.reader.changed():
            return True
        # A worker that was killed writes nothing more; only its lock tells.
        return self.state not in ENDED and self.reader.state() != self.state

    def episode(self, episode_id: int) -> Episode:
        """A recorded episode; the newest asked for is kept. Raises UserError without one."""
        if self._episode is None or self._episode[0] != episode_id:
            self._episode = (episode_id, self.reader.episode(episode_id))
        return self._episode[1]

    def tunes(self) -> list[Tuned]:
        """What was changed since the run started."""
        return self.reader.tunes()

    def read(self, moment: Moment | None = None) -> Snapshot | None:
        """The run as it is now, or as it was at a recorded moment; None before it has begun.

        Raises UserError when the run, or the moment in it, is not there any more.
        """
        with stored.trusted_by_nobody(self.reader.path / DATABASE):
            return self._snapshot(moment)

    def _snapshot(self, moment: Moment | None) -> Snapshot | None:
        reader = self.reader
        info, head = reader.info(), reader.head()
        self.state = head.state
        if head.generation != self._generation:
            self._generation = head.generation
            self._solved.clear()
            self._mdps.clear()
            self._episode = None
        moved_to: int | None = None
        if moment is None:
            steps, policy, at = self._edge(head.step)
        else:
            steps, at, moved_to = self._recorded_at(moment, head.step)
            policy = reader.policy_at(at)
        world_id = steps[-1].world_id if steps else policy.world_id if policy else 0
        world_id = world_id if moved_to is None else moved_to
        solved = self._solve(world_id, info.preset.algorithm.gamma)
        if solved is None:
            return None
        _check_fits(solved.mdp, [s for s in steps if s.world_id == solved.world.id], policy)
        return Snapshot(
            run_id=info.id,
            preset=info.preset,
            algorithm=algorithm_of(info.preset),
            head=head,
            at=at,
            following=moment is None,
            world=solved.world,
            mdp=solved.mdp,
            optimum=solved.optimum,
            optimal_figures=solved.figures,
            optimal_path=solved.path,
            policy=policy,
            evaluation=reader.evaluation_at(None if moment is None else at),
            curves=reader.curves(),
            progress=self._counted(head),
            reached=reader.reached() if info.preset.run.agents > 1 else {},
            episodes=tuple(reader.episodes(None if moment is None else at, SHOWN_EPISODES)),
            steps=steps,
            notes=tuple(reader.notes()),
            track=self._marks(head),
            counts_then=None if moment is None else self._counts(at, info.preset.run.agents),
            parent=info.parent,
            held_out=reader.evaluation_at(None if moment is None else at, split="test"),
            held_out_curves=reader.curves(split="test"),
            **self._written(info.preset, None if moment is None else at),
        )

    def _counted(self, head: Head) -> Progress:
        """The counters at each recording point, read again only when there are new ones."""
        key = (head.generation, head.last_point_id)
        if self._progress is None or self._progress[0] != key:
            self._progress = (key, self.reader.progress())
        return self._progress[1]

    def _marks(self, head: Head) -> Track:
        """What the timeline shows; read anew only where something may have come."""
        end = track_end(head.step, ended=head.ended)
        timeline = self.reader.timeline
        told = timeline.told()
        key = (head.generation, head.last_point_id, end)
        if self._track is None or self._track[0] != key or self._track[1].told != told:
            updates = timeline.spread("update", end, PARTS)
            episodes = timeline.spread("episode", end, PARTS)
            self._track = key, Track(end=end, told=told, updates=updates, episodes=episodes)
        return self._track[1]

    def _counts(self, at: int, agents: int) -> Counts:
        """How far the run was at step `at`."""
        counts = self.reader.timeline.counts(at)
        return replace(counts, env_steps=round(counts.total_env_steps / agents))

    def _written(self, preset: Preset, at: int | None) -> dict[str, Any]:
        """The pairs of texts, the answers, and the newest completions that were scored by them, up
        to step `at`; nothing in a run about a maze. (One that asks for preferences asks before all
        else.)"""
        pairs = tuple(self.reader.pairs(at))
        if not pairs and not isinstance(preset, ExternalPreset):
            return {}
        row = self.reader.newest_group(at)
        return {
            "pairs": pairs,
            "preferences": tuple(self.reader.preferences(at)),
            "writing": None if row is None else self.reader.group(row.id),
        }

    def groups(self, update: int | None = None, by: int = 0) -> GroupPage | None:
        """What an update compared: the newest at or before `update` (default: of all), or the one
        so many recorded updates away from it, at most the first or the last. None without any."""
        with stored.trusted_by_nobody(self.reader.path / DATABASE):
            return self._page(update, by)

    def _page(self, update: int | None, by: int) -> GroupPage | None:
        newest = self.reader.newest_group()
        if newest is None:
            return None
        chosen = self._update_with_groups(newest.step if update is None else update, by)
        compared = [self.reader.group(row.id) for row in self.reader.groups_of(chosen)]
        gamma = self.reader.info().preset.algorithm.gamma
        solved = [self._solve(group.world_id, gamma) for group in compared]
        return GroupPage(
            update=chosen,
            newest=newest.step,
            groups=tuple(
                ShownGroup(group, world.world, world.mdp, world.optimum, world.path)
                for group, world in zip(compared, solved, strict=True)
                if world is not None
            ),
        )

    def _update_with_groups(self, update: int, by: int) -> int:
        """The newest update with groups that is not after `update` (else the first of all), and
        from it so many further."""
        row = self.reader.newest_group(update)
        chosen = self.reader.update_with_groups(-1, +1) if row is None else row.step
        assert chosen is not None  # there are groups
        for _ in range(abs(by)):
            beside = self.reader.update_with_groups(chosen, by)
            chosen = chosen if beside is None else beside
        return chosen

    def _edge(self, step: int) -> tuple[tuple[Step, ...], Policy | None, int]:
        """The newest steps and tables: from the live edge, else from the record."""
        live: Live | None = self.reader.live()
        recorded = self.reader.policy_at()
        if live is None:
            return (), recorded, step
        policy = live.policy
        if policy is None or (recorded and recorded.step > policy.step):
            policy = recorded
        return live.steps, policy, max(step, live.step)

    def _recorded_at(self, moment: Moment, newest: int) -> tuple[tuple[Step, ...], int, int | None]:
        """The steps that lead to a moment of the recording, the step that is looked at, and the
        world of then where it is no more the one of those steps, which are left out then."""
        steps: tuple[Step, ...] = ()
        at = 0
        if moment.episode_id is not None:
            episode = self.episode(moment.episode_id)
            steps = episode.steps[: moment.t + 1]
            at = steps[-1].step if steps else episode.step  # a route may have no moves at all
        if moment.at is None:
            return steps, at, None
        at = max(at, min(moment.at, newest))
        world = self.reader.world_at(at)
        if steps and world is not None and world.step > steps[-1].step:
            return (), at, world.id
        return steps, at, None

    def _solve(self, world_id: int, gamma: float) -> _Solved | None:
        if world_id not in self._solved:
            worlds = self.reader.worlds()
            if not any(world.id == world_id for world in worlds):
                return None
            if len(worlds) != len(self._mdps):
                mdps = build_mdps([world.maze for world in worlds])
                self._mdps = {world.id: mdp for world, mdp in zip(worlds, mdps, strict=True)}
                self._solved.clear()
            mdp = self._mdps[world_id]
            optimum = solve(mdp, gamma)
            self._solved[world_id] = _Solved(
                world=next(world for world in worlds if world.id == world_id),
                mdp=mdp,
                optimum=optimum,
                figures=optimal_figures(mdp, gamma, optimum),
                path=tuple(optimal_path(mdp, optimum)),
            )
        return self._solved[world_id]


def track_end(step: int, *, ended: bool) -> int:
    """The step at which the timeline of a run of `step` steps so far ends.

    That of a run that goes on is a little ahead, by at most a quarter, so that its marks do not
    move at every step: a terminal over SSH is slow.
    """
    if ended:
        return max(step, 1)
    power = 1 << max(step.bit_length() - 3, 0)
    return max(-(-(step + 1) // power) * power, 8)


def _check_fits(mdp: MDP, steps: Sequence[Step], policy: Policy | None) -> None:
    """Raise IndexError where steps or tables speak of states, observations or actions that the maze
    does not have: every panel looks things up by these numbers."""
    states, actions = mdp.next_state.shape[:2]
    size = (mdp.n_observations, actions)
    for step in steps:
        if not (0 <= step.state < states and 0 <= step.next_state < states):
            raise IndexError(f"a step in state {step.state}, of {states}")
        if not (0 <= step.observation < size[0] and 0 <= step.next_observation < size[0]):
            raise IndexError(f"a step with observation {step.observation}, of {size[0]}")
        if not (0 <= step.action < actions and -1 <= step.next_action < actions):
            raise IndexError(f"a step with action {step.action}, of {actions}")
    if policy is not None:
        whole = (policy.target, policy.behaviour, policy.visits, policy.q)
        if any(table is not None and table.shape != size for table in whole):
            raise IndexError(f"tables that are not {size[0]}×{size[1]}")
        if policy.values.shape != size[:1] or any(
            layer.shape not in (size, size[:1]) for layer in policy.layers.values()
        ):
            raise IndexError(f"values that are not those of {size[0]} observations")
