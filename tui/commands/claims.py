"""Whether a preset keeps its promises: run it the way a user would, and look at the figures."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.claims import Claim, judge
from engine.runs import launch
from engine.runs.reader import RunReader
from tui.commands.follow import Follower, Signals
from tui.commands.output import INTERRUPTED, leave

if TYPE_CHECKING:
    from engine.presets import Preset
    from engine.runs.records import NoteRow, RunInfo
    from tui.commands.progress import Moment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a preset."""

    name: str
    status: str
    seconds: float
    claims: list[Claim] = field(default_factory=list)
    error: str = ""

    @property
    def kept(self) -> bool:
        """Whether the run finished and all claims held."""
        return self.status == "finished" and all(claim.kept for claim in self.claims)


class _Silent:
    """A reporter that only remembers why a run failed."""

    interval = math.inf

    def __init__(self) -> None:
        self.error = ""

    def started(self, run_dir: Path, info: RunInfo) -> None: ...

    def note(self, note: NoteRow) -> None:
        if note.level == "error":
            self.error = note.text

    def progress(self, moment: Moment) -> None: ...

    def stopping(self) -> None: ...

    def failed(self, message: str) -> None:
        self.error = message

    def finished(self, run_dir: Path, figures: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_preset(name: str, preset: Preset, signals: Signals) -> Verdict:
    """Run `preset` in a worker, in a temporary folder, and compare its figures with its claims.

    Ends the command with exit status 130 when the user interrupts it.
    """
    with tempfile.TemporaryDirectory(prefix="icemaze-check-") as folder:
        run_dir = launch.launch(preset, name, runs_dir=Path(folder))
        reporter = _Silent()
        try:
            code = Follower(run_dir, reporter).follow(signals)
        finally:
            _end(run_dir)
        if signals.hung_up or code == INTERRUPTED:
            leave(code)
        with RunReader(run_dir) as reader:
            figures = reader.final()
    return Verdict(
        name=name,
        status=figures["status"],
        seconds=figures["seconds"],
        claims=[judge(claim, figures) for claim in preset.expect] if code == 0 else [],
        error=reporter.error,
    )


def _end(run_dir: Path) -> None:
    """See to it that no worker goes on in a folder that is about to vanish."""
    with RunReader(run_dir) as reader:
        if not reader.head().ended:
            reader.wait_reply(reader.send("stop"))
