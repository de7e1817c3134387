"""What an experienced person would say while watching the curves: a cause, and what to change.

The rules stand in `engine.llm.diagnosis.rules`. A rule speaks when it was triggered for some
updates in a row, and not again before it was cleared for a while; each time for twice as long, so
that a wavering run is not flooded with notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from engine.config.llm import LlmSettings
from engine.config.preset import LlmPreset
from engine.core.arrays import Array
from engine.learning.events import Note
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.diagnosis.evidence import SIDE_REWARDS, WINDOW, Alarm, Memory, Rule, UpdateView
from engine.llm.diagnosis.rules import RULES, memory_note

NEARLY_FULL = 0.92
"""Share of the memory there is."""
CALM = 5
"""Updates a condition must be gone before it can be reported a second time."""
GIB = 2**30


class Diagnosis:
    """Watches one run. `settings` follows what is tuned; `limits` are the GiB there are.

    `optimum` gives the mean success of the best policies in the training mazes as they are now: it
    takes a while, so it is asked only by rules that need it.
    """

    def __init__(
        self,
        preset: LlmPreset,
        algorithm: LlmAlgorithm[LlmSettings],
        optimum: Callable[[], float],
        rules: Sequence[Rule] = RULES,
    ) -> None:
        assert isinstance(preset.algorithm, LlmSettings)
        self.preset, self.algorithm, self.rules = preset, algorithm, rules
        self.optimum = optimum
        self.settings: LlmSettings = preset.algorithm
        self.limits = {"memory_gib": memory_limit(), "gpu_memory_gib": math.inf}
        self._memory = Memory()
        self._full: set[str] = set()  # depends on the machine: not part of what is saved

    def notes(self, step: int, metrics: dict[str, float], success: float | None) -> list[Note]:
        """What is to be said after update number `step`.

        `success` is the success on the training mazes if it was evaluated at this update.
        """
        if success is not None:
            self.evaluated(success)
        view = UpdateView(
            self.preset,
            self.algorithm,
            self.settings,
            step,
            metrics,
            self._memory,
            self.optimum,
            self.limits,
        )
        if not view.warming_up:
            self._remember(view)
        said = [rule.note(view) for rule in self.rules if self._speaks(rule, view)]
        return said + self._nearly_full(view)

    def evaluated(self, success: float) -> None:
        """Take note of the success on the training mazes."""
        if math.isfinite(success):
            memory = self._memory
            memory.success, memory.best = success, max(memory.best, success)
            self._append("evaluated", success)

    def new_map(self) -> None:
        """The training maze has changed: success and reward are not comparable with before."""
        self._memory.success, self._memory.best = None, 0.0
        self._memory.windows.clear()

    def save(self) -> Array:
        """All it remembers, as the bytes of a JSON text [n] uint8."""
        return np.frombuffer(msgspec.json.encode(self._memory), np.uint8)

    def load(self, array: Array) -> None:
        """The inverse of `save`."""
        self._memory = msgspec.json.decode(array.tobytes(), type=Memory)

    def _remember(self, view: UpdateView) -> None:
        online = view["online_success_rate"]
        latest = {
            "reward": view["online_return"],
            "success": view.success if math.isnan(online) else online,
            **{name: view[name] for name in SIDE_REWARDS},
        }
        for name, value in latest.items():
            if math.isfinite(value):
                self._append(name, value)

    def _append(self, name: str, value: float) -> None:
        window = self._memory.windows.setdefault(name, [])
        window.append(float(value))
        del window[:-WINDOW]

    def _speaks(self, rule: Rule, view: UpdateView) -> bool:
        """Keeps the rule's alarm up to date; True when it is time for its note."""
        if view.warming_up and not rule.warming_up:
            return False
        alarm = self._memory.alarms.setdefault(rule.name, Alarm())
        if alarm.on:
            alarm.over = alarm.over + 1 if rule.cleared(view) else 0
            if alarm.over >= CALM << min(alarm.said - 1, 20):
                alarm.on, alarm.bad, alarm.over = False, 0, 0
            return False
        alarm.bad = alarm.bad + 1 if rule.triggered(view) else 0
        if alarm.bad < rule.patience:
            return False
        alarm.on, alarm.said = True, alarm.said + 1
        return True

    def _nearly_full(self, view: UpdateView) -> list[Note]:
        """Memory is looked at apart: it differs between machines, so it is not saved."""
        full = [
            name
            for name, limit in self.limits.items()
            if view[name] >= NEARLY_FULL * limit and name not in self._full
        ]
        self._full.update(full)
        return [memory_note(view, name) for name in full]


def memory_limit() -> float:
    """GiB of main memory this process can have: the machine's, or its container's."""
    limits = [math.inf]
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    except (OSError, ValueError):
        pass  # not Linux: then nothing is known, and nothing is said
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path("/sys/fs/cgroup", file).read_text("ascii")))
        except (OSError, ValueError):
            continue  # no such group, or its limit is "max"
    return min(limits) / GIB
