"""The writing end of a run that another trainer carries out: an ordinary run folder.

Whoever writes holds the run's lock, as a worker does, so that lists know whether it is alive. There
are no checkpoints and no commands: the run can be looked at, not steered.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.config.external import External, ExternalSettings
from engine.config.llm import ModelSettings
from engine.config.preset import Budget, ExternalPreset
from engine.config.text import NO_MAZE
from engine.core import private
from engine.core.errors import UserError, shown
from engine.env.build_maze import build_mazes
from engine.env.settings import MazeSettings
from engine.external import names
from engine.external.rollouts import Rollout, groups
from engine.learning.events import Finished, Metric, Note, Update, World
from engine.learning.learner import Counters
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.diagnosis import foreign
from engine.llm.diagnosis.monitor import Diagnosis
from engine.runs import launch, library, schema
from engine.runs.disk.lock import RunLock
from engine.runs.machine.sampler import MachineSampler
from engine.runs.notify.notifier import Notifier
from engine.runs.reader import RunReader
from engine.runs.store import RunWriter

DENSE = 200
"""Steps whose rollouts are all kept; then every second, from twice as many on every fourth, …"""

Level = Literal["info", "warning", "error"]
End = Literal["finished", "stopped", "failed"]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a trainer says of its run before it begins."""

    name: str
    trainer: str
    algorithm: str = "unknown"
    model: str = "unknown"
    unit: str = "update"
    source: str = ""
    updates: int | None = None
    """When it will end, if that is known."""
    settings: dict[str, int | float | str | bool] = {}


class ExternalRun:
    """Records one run. `commit` makes what was said visible; `end` is the last call."""

    def __init__(self, run_dir: Path, preset: ExternalPreset, lock: RunLock) -> None:
        """Raises UserError when the store cannot be opened."""
        self.run_dir, self.preset = run_dir, preset
        self._lock = lock
        self.writer = RunWriter(run_dir)
        self.counters = Counters()
        self.before = 0.0
        """Seconds that were recorded before this process took over."""
        self.tokens = 0
        """Tokens that were seen so far, where the trainer counts them."""
        self._started = time.monotonic()
        self._newest: dict[str, int] = {}
        self._diagnosed = -1
        self.machine: MachineSampler | None = None
        """Looks at this machine, where it is the one that trains."""
        self._notifier = Notifier(run_dir, preset.title)
        algorithm = algorithm_of(preset)
        assert isinstance(algorithm, LlmAlgorithm)
        self._diagnosis = Diagnosis(preset, algorithm, lambda: math.nan, foreign.FOREIGN_RULES)

    # ------------------------------------------------------------ life

    @classmethod
    def create(cls, told: Described, runs_dir: Path | None = None) -> ExternalRun:
        """Make the folder of a new run. Raises UserError."""
        preset = _preset(told)
        now = datetime.now(UTC)
        run_dir = launch.new_folder(runs_dir or library.runs_dir(), told.name)
        with launch.explained(run_dir):
            private.write_new(run_dir / "preset.toml", presets.dump(preset).encode())
            schema.create(run_dir)
        lock = RunLock.take(run_dir)
        assert lock is not None  # nobody else knows of the folder yet
        run = cls(run_dir, preset, lock)
        run.writer.set_meta(
            id=run_dir.name,
            preset_name=shown(told.name, 80),
            title=preset.title,
            created=now.isoformat(timespec="microseconds"),
            order=library.next_in_order(run_dir.parent, now).isoformat(timespec="microseconds"),
            state="running",
            generation=0,
            algorithm=preset.algorithm.title,
            external={"trainer": preset.external.trainer},
        )
        maze = build_mazes(msgspec.convert(NO_MAZE, MazeSettings))[0][1]
        run.writer.write([World(step=0, id=0, split="train", maze=maze)])
        run.commit()
        return run

    @classmethod
    def reopen(cls, run_dir: Path) -> ExternalRun | None:
        """Go on with a run; None when somebody else records it now. Raises UserError."""
        with RunReader(run_dir) as reader:
            preset, meta = reader.info().preset, reader.meta()
        if not isinstance(preset, ExternalPreset):
            raise UserError(f"{run_dir.name} is a run of Ice Maze's own.")
        lock = RunLock.take(run_dir)
        if lock is None:
            return None
        run = cls(run_dir, preset, lock)
        run.counters = msgspec.convert(meta.get("counters", {}), Counters)
        run.before = float(meta.get("seconds", 0.0))
        with schema.explained(run_dir / schema.DATABASE):
            query = "SELECT name, max(step) FROM metrics GROUP BY name"
            run._newest = dict(run.writer.connection.execute(query).fetchall())
        run._diagnosed = run.counters.step
        run.writer.set_meta(state="running", finished={})
        run.commit()
        return run

    def watch_machine(self) -> None:
        """Record how busy this machine is, too."""
        self.machine = MachineSampler(time.monotonic)
        self.machine.start()

    def commit(self) -> None:
        """Write what was said since the last commit. Raises StorageError."""
        if self.machine is not None:
            self.writer.write_machine(self.machine, self.counters.step)
        self.writer.set_meta(
            counters=msgspec.to_builtins(self.counters), seconds=self.seconds, waiting=0
        )
        self.writer.commit()

    @property
    def seconds(self) -> float:
        """How long it has been recorded."""
        return self.before + time.monotonic() - self._started

    def end(self, status: End, error: str = "") -> None:
        """Write the last words, and let go of the run."""
        counters = self.counters
        if error:
            self.note("error", error)
        self.writer.write(
            [
                Finished(
                    step=counters.step,
                    status=status,
                    updates=counters.updates,
                    episodes=counters.episodes,
                    total_env_steps=counters.total_env_steps,
                    seconds=self.seconds,
                    error=shown(error, 2000),
                )
            ]
        )
        try:
            self.commit()
            if status != "stopped":
                text = error or f"Finished at step {counters.step:,}."
                self._notifier.tell(status, counters.step, text)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the run without a last word, as a killed process does."""
        if self.machine is not None:
            self.machine.stop()
        with contextlib.suppress(sqlite3.Error):
            self.writer.close()
        self._lock.close()

    # ------------------------------------------------------------ what is said

    def metrics(self, step: int, told: Mapping[str, float | None]) -> int:
        """Record metrics at a step, and say what is wrong with them. Gives how many there was no
        room for: later values of a step that has one, and names beyond `names.MOST_NAMES`."""
        values = names.canonical(told)
        room = names.MOST_NAMES - len(self._newest)
        new = [name for name in values if name not in self._newest]
        refused = set(new[max(room, 0) :])
        kept = {
            name: value
            for name, value in values.items()
            if name not in refused and step > self._newest.get(name, -1)
        }
        if kept:
            self._newest.update(dict.fromkeys(kept, step))
            self._advance(step)
            self.writer.write([self._update(step, kept)])
            self._diagnose(step, kept)
        return len(values) - len(kept)

    def rollouts(self, step: int, told: Sequence[Rollout]) -> None:
        """Record completions of a step; of a long run not those of every step."""
        self._advance(step)
        self.counters = msgspec.structs.replace(
            self.counters, episodes=self.counters.episodes + len(told)
        )
        if step % 2 ** (step // DENSE).bit_length() == 0:
            self.writer.write(list(groups(step, told)))

    def note(self, level: Level, text: str, remedy: str = "", step: int | None = None) -> None:
        """Say something to whoever watches."""
        step = self.counters.step if step is None else step
        self.writer.write([Note(step=step, level=level, text=shown(text, 2000), remedy=remedy)])

    def _advance(self, step: int) -> None:
        if step > self.counters.step:
            self.counters = msgspec.structs.replace(self.counters, step=step, updates=step)
        self.counters = msgspec.structs.replace(self.counters, total_env_steps=self.tokens)

    def _update(self, step: int, values: dict[str, float]) -> Update:
        counted = {name: names.stored(value) for name, value in values.items()}
        return Update(
            step=step,
            updates=step,
            episodes=self.counters.episodes,
            total_env_steps=self.tokens,
            metrics={
                name: Metric(value, value, value, 0 if math.isnan(value) else 1)
                for name, value in counted.items()
            },
        )

    def _diagnose(self, step: int, values: dict[str, float]) -> None:
        """At most once a step: a rule counts how often in a row it was met."""
        known = {name: values[name] for name in foreign.METRICS if name in values}
        if known and step > self._diagnosed:
            self._diagnosed = step
            for note in self._diagnosis.notes(step, values, None):
                self.writer.write([note])
                if note.level == "warning":
                    self._notifier.tell("diagnosis", step, note.text, note.remedy)


def _preset(told: Described) -> ExternalPreset:
    """The run as a preset that nobody can train. What is too long is cut."""
    settings = {shown(key, 100): _plain(value) for key, value in list(told.settings.items())[:100]}
    return ExternalPreset(
        title=shown(told.name, 200) or "run",
        group="llm",
        maze=msgspec.convert(NO_MAZE, MazeSettings),
        algorithm=ExternalSettings(title=shown(told.algorithm, 80) or "unknown"),
        budget=Budget(updates=told.updates or None),
        model=ModelSettings(
            name=shown(told.model, 200) or "unknown", quantization="none", policy="text"
        ),
        external=External(
            trainer=shown(told.trainer, 200),
            source=told.source,
            unit=shown(told.unit, 20) or "update",
            settings=settings,
        ),
    )


def _plain(value: int | float | str | bool) -> int | float | str | bool:
    if isinstance(value, str):
        return shown(value, 200)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return float("inf")
    return value
