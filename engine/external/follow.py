"""A file of JSON lines as a run: converted, and followed while somebody writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.errors import UserError, shown
from engine.external import names
from engine.external.lines import Entry, Header, parse, unknown_key
from engine.external.record import Described, ExternalRun
from engine.external.tail import Piece, Tail
from engine.presets import toml
from engine.runs import library
from engine.runs.reader import RunReader
from engine.runs.records import ENDED

TOLD = 20
"""Bad lines that have a note each; then every note speaks of twice as many."""

FULL = (
    f"Some metrics are left out: a step has one value of each, and a run {names.MOST_NAMES} of them"
)


class FollowedFile:
    """Reads one file, and records what it says. `poll` again and again, then `close`."""

    def __init__(self, file: Path, runs_dir: Path | None = None) -> None:
        """Find the run of this file, if it was followed before. Raises UserError."""
        self.file = file.absolute()
        self.runs_dir = runs_dir or library.runs_dir()
        self.run: ExternalRun | None = None
        self.run_dir: Path | None = None
        """The folder of the run, once there is one."""
        self.others = False
        """Whether somebody else follows the file already."""
        self.ended = False
        self.bad = 0
        """Lines that could not be used."""
        self._unknown: set[str] = set()
        self._unsaid: list[str] = []
        """Notes that wait for a run to stand in."""
        self._at = self._line = 0
        """The place in the file behind the newest line, and that one's number."""
        self._behind_end = self._full = False
        self._tail = Tail(self.file)
        self._take_up()

    # ------------------------------------------------------------ where it was left

    def _take_up(self) -> None:
        for folder in reversed(library.run_folders(self.runs_dir)):
            place = self._left_at(folder)
            if place is None:
                continue
            self.run_dir = folder
            self._at, self._line = place["offset"], place["line"]
            if place["over"]:
                self._behind_end = True
                self.ended = self.file.stat().st_size <= self._at
            else:
                self.run = ExternalRun.reopen(folder)
                self.others = self.run is None
            self._tail.close()
            self._tail = Tail(self.file, self._at, self._line)
            return

    def _left_at(self, folder: Path) -> dict[str, Any] | None:
        """Where a run has left this file; None for a run of another file."""
        try:
            text = (folder / "preset.toml").read_text("utf-8", "replace")
            if f"source = {toml.inline(str(self.file))}" not in text:
                return None
            with RunReader(folder) as reader:
                meta = reader.meta()
        except (OSError, UserError):
            return None
        place = meta.get("external", {})
        same = place.get("file") == list(self._tail.identity)
        if not same or place.get("offset", 0) > self.file.stat().st_size:
            return None  # it is another file by now
        known = {"offset": 0, "line": 0, "over": False, **place}
        return {**known, "over": known["over"] and meta.get("state") in ENDED}

    # ------------------------------------------------------------ reading on

    def poll(self) -> bool:
        """Record what was written since the last call. True if there was anything.

        Raises StorageError when it cannot be recorded.
        """
        pieces = list(self._tail.read()) if not self.ended else []
        for piece in pieces:
            self._take(piece)
        self._commit()
        return bool(pieces)

    def close(self) -> None:
        """Take a last line that nothing ends; a run that was not ended by the file is stopped."""
        try:
            if not self.ended:
                for piece in self._tail.rest():
                    if piece.text.rstrip().endswith(b"}"):
                        self._take(piece)
            if self.run is not None:
                self._place(over=False)
                self.run.end("stopped")
                self.run = None
        finally:
            self._tail.close()

    def _commit(self) -> None:
        if self.run is not None:
            self.run.commit()

    def _place(self, *, over: bool) -> None:
        """Note, with the next commit, what is recorded of the file by now."""
        assert self.run is not None
        self.run.writer.set_meta(
            external={
                "trainer": self.run.preset.external.trainer,
                "file": list(self._tail.identity),
                "offset": self._at,
                "line": self._line,
                "over": over,
            }
        )

    def _take(self, piece: Piece) -> None:
        if self.ended:
            return
        self._at, self._line = piece.end, piece.number
        if piece.trouble:
            self._complain(piece)
        else:
            try:
                line = parse(piece.text)
                for name in line.unknown:
                    self._say_unknown(piece.number, name)
                self._record(line.said)
            except UserError as error:
                self._complain(Piece(piece.number, piece.end, trouble=f"is left out: {error}"))
        if self.run is not None:
            self._place(over=False)

    def _record(self, said: Header | Entry) -> None:
        if isinstance(said, Header):
            if self.run is not None:
                self._begin_again()
            self._begin(said)
            return
        if self._behind_end:
            raise UserError("it comes behind the line that ended the run")
        run = self.run or self._begin(Header(icemaze=1))
        step = run.counters.step if said.step is None else said.step
        if step < run.counters.step:
            raise UserError(f"step {step} comes behind step {run.counters.step}")
        if said.metrics and run.metrics(step, said.metrics) and not self._full:
            self._full = True
            self._say(f"{FULL} (first at line {self._line:,}).")
        if said.rollouts:
            run.rollouts(step, said.rollouts)
        if said.note:
            run.note(said.level, said.note, step=step)
        if said.end is not None:
            self._place(over=True)
            run.end(said.end, said.error)
            self.run, self.ended, self._behind_end = None, True, True

    def _begin(self, header: Header) -> ExternalRun:
        settings = {key: value for key, value in header.settings.items() if value is not None}
        self.run = ExternalRun.create(
            Described(
                name=header.name.strip() or self.file.stem,
                trainer=header.trainer.strip() or "another trainer",
                algorithm=header.algorithm.strip() or "unknown",
                model=header.model.strip() or "unknown",
                unit=header.unit.strip() or "update",
                source=str(self.file),
                updates=header.updates,
                settings=settings,
            ),
            self.runs_dir,
        )
        self.run_dir, self._behind_end = self.run.run_dir, False
        for text in self._unsaid:
            self._say(text)
        self._unsaid.clear()
        return self.run

    def _begin_again(self) -> None:
        """A header in the middle: the trainer was started again, which is another run."""
        assert self.run is not None
        text = f"Line {self._line:,} of {self.file} is a new header: what follows is another run."
        self.run.note("info", text)
        self.run.end("stopped")
        self.run = None

    # ------------------------------------------------------------ what is wrong with it

    def _complain(self, piece: Piece) -> None:
        if piece.number == 0:  # about the file, not about a line
            self._say(f"{shown(str(self.file), 200)}: {piece.trouble}.")
            return
        self.bad += 1
        if self.bad <= TOLD or (self.bad & (self.bad - 1)) == 0:
            many = "" if self.bad <= TOLD else f" ({self.bad:,} lines so far)"
            self._say(f"Line {piece.number:,} {piece.trouble.rstrip('.')}{many}.")

    def _say_unknown(self, number: int, name: str) -> None:
        if name not in self._unknown and len(self._unknown) < TOLD:
            self._unknown.add(name)
            self._say(f"Line {number:,}: {unknown_key(name)}")

    def _say(self, text: str) -> None:
        """A note in the run; a file that begins with nonsense makes none."""
        if self.run is not None:
            remedy = "docs/watch.md says what a line may hold."
            self.run.note("warning", text, remedy)
        else:
            self._unsaid.append(text)
