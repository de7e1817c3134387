"""The home screen's part for what is done to runs: go on, stop, delete, pin, name, tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, work
from textual.message import Message

from tui.features.home.code_question import ask_to_run
from tui.features.home.home_lab import LabOfHome
from tui.features.home.run_dialogs import RenameRun, RunDifferences
from tui.library import run_actions
from tui.library.facts_of import LIVE, RESUMABLE
from tui.library.lists import RunList
from tui.library.shelf import RunCard
from tui.ui import glyphs
from tui.ui.text import clean
from tui.ui.yes_no import YesNo

if TYPE_CHECKING:
    from tui.library.differences import Difference


RUN_ACTIONS = (
    *("resume", "stop", "delete", "compare", "export", "pin", "rename", "difference", "sort"),
)
"""What is done to the highlighted run, or with the marked ones: names of actions and of keys."""


class RunsOfHome(LabOfHome):
    """What is done to the highlighted run. `HomeScreen` lists and shows them."""

    @dataclass
    class Done(Message):
        """A thread has done something to a run: `path` is to be opened, `error` to be said."""

        path: Path | None = None
        error: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.order = "newest"
        """What the runs are sorted by."""
        self._asked_to_stop: set[Path] = set()

    @property
    def _run_list(self) -> RunList:
        return self.query_one(RunList)

    @property
    def _run(self) -> RunCard | None:
        """The highlighted run, if the runs have the focus."""
        run_id = self._run_list.chosen
        return self._runs.get(run_id) if self._run_list.has_focus and run_id else None

    def _request_runs(self) -> None:
        """Ask for a reading."""
        raise NotImplementedError

    def allows(self, action: str) -> bool:
        """Whether the highlighted run allows one of `RUN_ACTIONS`."""
        run = self._run
        state = run.summary.state if run else ""
        return {
            "resume": state in RESUMABLE,
            "stop": state in LIVE,
            "delete": bool(state) and state not in LIVE,
            "export": state not in ("", "broken"),
            "pin": bool(state) and state != "broken",
            "rename": bool(state) and state != "broken",
            "compare": self._run_list.has_focus,
            "difference": self._run_list.has_focus and len(self._two) == 2,
            "sort": self._run_list.has_focus and len(self._runs) > 1,
        }[action]

    # ------------------------------------------------------------ the list

    def action_sort(self) -> None:
        """The next order."""
        # start-up time
        from engine.runs.lists.sorting import ORDERS

        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._request_runs()

    def action_pin(self) -> None:
        """Keep the highlighted run on top, or no more."""
        if run := self._run:
            self._carry_out(partial(run_actions.pin, on=not run.summary.pinned), run.summary.path)

    def action_rename(self) -> None:
        """Give the highlighted run a title."""
        if run := self._run:
            path = run.summary.path
            self.app.push_screen(
                RenameRun(clean(path.name), run.title), partial(self._retitle, path)
            )

    def _retitle(self, path: Path, title: str | None) -> None:
        if title is not None:
            self._carry_out(partial(run_actions.rename, title=title), path)

    @property
    def _two(self) -> list[RunCard]:
        """The two runs to tell apart: those marked, or the one marked and the highlighted one."""
        chosen = [self._runs[run] for run in self._runs if run in self._run_list.marked]
        run = self._run
        if len(chosen) == 1 and run is not None and run not in chosen:
            chosen.append(run)
        return chosen if len(chosen) == 2 else []

    @work(thread=True, group="difference", exclusive=True, exit_on_error=False)
    def action_difference(self) -> None:
        """In which settings the two runs differ."""
        # start-up time
        from engine.core.errors import UserError

        two = self._two
        try:
            found = run_actions.differences([run.summary.path for run in two])
        except UserError as error:
            self.post_message(self.Done(error=clean(str(error))))
            return
        self.app.call_from_thread(self._show_difference, [run.title for run in two], found)

    def _show_difference(self, titles: list[str], found: list[Difference]) -> None:
        self.app.push_screen(RunDifferences(titles, found))

    # ------------------------------------------------------------ worker and folder

    def action_resume(self) -> None:
        """Go on with the highlighted run and show it."""
        if self._run:
            self.notify("Starting the worker…", timeout=2)
            self._carry_out(run_actions.resume, self._run.summary.path, then_open=True)

    def action_stop(self) -> None:
        """Ask the highlighted run to stop; asked again while it goes on, end its worker."""
        if run := self._run:
            path = run.summary.path
            if path in self._asked_to_stop:
                asked = YesNo(run_actions.END_QUESTION, yes="End it now", no="Wait")
                self.app.push_screen(asked, partial(self._end_if, path))
            else:
                self._asked_to_stop.add(path)
                self._carry_out(run_actions.stop, path)
                self.set_timer(run_actions.STOP_SECONDS, partial(self._say_how_to_end, path))

    def _end_if(self, path: Path, sure: bool | None) -> None:
        if sure:
            self._carry_out(run_actions.end, path)

    def _say_how_to_end(self, path: Path) -> None:
        live = any(r.summary.path == path and r.summary.state in LIVE for r in self._runs.values())
        if live:
            self.notify(run_actions.STILL_GOING, severity="warning", timeout=10, markup=False)
        else:  # it may be resumed, and then asked to stop again
            self._asked_to_stop.discard(path)

    def on_key(self, event: events.Key) -> None:
        """A key for other runs that found none: silence would look like a key that is broken."""
        run = self._run
        if run is None:
            return
        live = run.summary.state in LIVE
        said = {
            "x": "" if live else "The run is over already: there is nothing to stop.",
            "d": "The run is live: stop it first (x), then it can be deleted." if live else "",
            "D": "" if self._two else "Mark the other run with space: D tells two runs apart.",
        }.get(event.key if event.character != "D" else "D")
        if said:
            event.stop()
            self.notify(said, markup=False)

    def action_export(self) -> None:
        """Write the highlighted run to files."""
        if self._run:
            self._host.export_run(self._run.summary.path)

    def action_delete(self) -> None:
        """Delete the highlighted run, after a question."""
        if run := self._run:
            question = (
                f"Delete the run {run.title} ({run.summary.id}) for good? Its recording, "
                "checkpoints and adapters go with it."
            )
            asked = YesNo(glyphs.plain(question), yes="Delete it", no="Keep it")
            self.app.push_screen(asked, partial(self._delete_if, run.summary.path))

    def _delete_if(self, path: Path, sure: bool | None) -> None:
        if sure:
            self._carry_out(run_actions.delete, path)

    @work(thread=True, group="actions", exit_on_error=False)
    def _carry_out(
        self, action: Callable[[Path], object], path: Path, then_open: bool = False
    ) -> None:
        # start-up time
        from engine.core.errors import UserError

        try:
            said = action(path)
            text = clean(said) if isinstance(said, str) else ""
            self.post_message(self.Done(path if then_open else None, error=text))
        except UserError as error:
            if not ask_to_run(self, error, partial(self._carry_out, action, path, then_open)):
                self.post_message(self.Done(error=clean(str(error))))

    def on_runs_of_home_done(self, message: Done) -> None:
        """Say what went wrong, or show what was asked for."""
        if message.error:
            self.notify(message.error, severity="error", markup=False)
        if message.path is not None:
            self._host.open_run(message.path)
        self._request_runs()
