"""The home screen's part for the lab: opening challenges, and comparing marked runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.screen import Screen
from textual.widgets import OptionList

from tui.features.home.lab_list import LabList
from tui.features.home.which_runs import WhichRuns
from tui.library.host import Host, host_of
from tui.library.lab_shelf import LabCard, earlier_runs, read_lab
from tui.library.lists import RunList
from tui.library.search import Search
from tui.library.shelf import PresetCard, RunCard
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.config.preset import Preset

FEWEST, MOST = 2, 4
"""How many runs can be compared."""


class LabOfHome(Screen[None]):
    """What the home screen does with the Lab and with marked runs. `HomeScreen` does the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._presets: dict[str, PresetCard] = {}
        self._runs: dict[str, RunCard] = {}
        self._lab: dict[str, LabCard] = {}
        self._lab_states: dict[str, str] = {}

    @property
    def _host(self) -> Host:
        return host_of(self)

    @property
    def _lab_list(self) -> LabList:
        return self.query_one(LabList)

    @property
    def _lab_row(self) -> LabCard | None:
        """The highlighted row of the Lab, if it has the focus."""
        chosen = self._lab_list.chosen
        return self._lab.get(chosen) if self._lab_list.has_focus and chosen else None

    # ------------------------------------------------------------ the list

    def read_lab(self) -> None:
        """Read the challenges; without any there is no list."""
        self._lab = {card.id: card for card in read_lab(self._presets)}
        self._lab_list.display = bool(self._lab)
        self.read_states()

    def read_states(self) -> None:
        """Read how far the user is."""
        # start-up time
        from engine.core.errors import UserError
        from engine.experiments.lab import progress

        if not self._lab:
            return
        try:
            found = progress.read()
        except UserError as error:
            self._warn(str(error))
            return
        if found.note:
            self._warn(found.note)
        self._lab_states = dict(found.states)

    def list_lab(self, search: Search) -> None:
        """Show the rows of the Lab that are looked for."""
        self._lab_list.show_lab(self._lab.values(), self._lab_states, search)

    def lab_state(self, card: LabCard) -> str:
        """How far the user is with a row of the Lab."""
        return self._lab_states.get(card.name, "not tried")

    def _warn(self, text: str) -> None:
        self.notify(clean(text), severity="warning", markup=False)

    def action_lab(self) -> None:
        """Go to the Lab."""
        self._lab_list.focus()

    # ------------------------------------------------------------ opening

    @on(OptionList.OptionSelected, "#lab")
    def _open_row(self, event: OptionList.OptionSelected) -> None:
        card = self._lab[event.option.id or ""]
        broken = card.error or next((p.error for p in card.presets if p.error), "")
        if broken:
            self.notify(broken, severity="error", markup=False)
        elif card.kind == "preset":
            self.choose_preset(card.presets[0])
        elif there := earlier_runs(card, list(self._runs.values())):
            question = WhichRuns(card.title, there)
            paths = [run.summary.path for run in there]
            self.app.push_screen(question, partial(self._open_lab, card, paths))
        else:
            self._open_lab(card, [], fresh=True)

    def _open_lab(self, card: LabCard, there: list[Path], fresh: bool | None) -> None:
        if fresh is None:
            return
        if card.lesson_error:
            self._warn(card.lesson_error)
        if fresh:
            self._host.start_lab(card)
        else:
            self._host.compare_runs(there, card)

    def choose_preset(self, card: PresetCard) -> None:
        """Show the settings of a preset; Enter there starts it."""
        # start-up time
        from tui.forms.start_form import StartForm

        if card.preset is None:
            self.notify(card.error, severity="error", markup=False)
            return
        self.app.push_screen(StartForm(card.preset), partial(self._start, card.name))

    def _start(self, name: str, preset: Preset | None) -> None:
        if preset is not None:
            self._host.start_run(preset, name)

    # ------------------------------------------------------------ comparing runs

    def action_compare(self) -> None:
        """Show the marked runs side by side."""
        runs = self.query_one(RunList)
        marked = [run for run in self._runs if run in runs.marked]
        if not FEWEST <= len(marked) <= MOST:
            found = {0: "none is", 1: "one is"}.get(len(marked), f"{len(marked)} are")
            self._warn(
                f"Two to four runs can be compared; {found} marked. Space marks the highlighted "
                "run, and takes its mark away."
            )
            return
        broken = [self._runs[run] for run in marked if self._runs[run].summary.state == "broken"]
        if broken:
            self._warn(f"{broken[0].title} cannot be read: {broken[0].summary.broken}")
            return
        self._host.compare_runs([self._runs[run].summary.path for run in reversed(marked)], None)
