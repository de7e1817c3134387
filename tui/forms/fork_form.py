"""The form before a fork: the settings as they were at the checkpoint, those that may change."""

from __future__ import annotations

from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.runs.past.fork import ForkPoint, changeable, check
from tui import kinds
from tui.forms.setting_spec import Sections, sections
from tui.forms.start_form import SettingsForm
from tui.library.facts_of import budget_text
from tui.ui.text import clean


class ForkForm(SettingsForm[Preset | None]):
    """Dismisses with the preset of the new run, or None. The button has the focus."""

    SUBMIT = "Fork"

    def __init__(self, point: ForkPoint) -> None:
        self._point = point
        super().__init__(point.preset, self.shown_of(point.preset))

    def shown_of(self, preset: Preset) -> Sections:
        """Only what may be otherwise than it was."""
        shown = sections(preset)
        main = {
            heading: [setting for setting in group if changeable(setting.key)]
            for heading, group in shown.main.items()
        }
        return Sections(
            {heading: group for heading, group in main.items() if group},
            [setting for setting in shown.advanced if changeable(setting.key)],
        )

    def _check(self) -> str:
        wrong = super()._check()
        if wrong:
            return wrong
        try:
            check(self._point, self._valid)
        except UserError as error:
            return clean(str(error))
        return ""

    def purpose(self) -> str:
        unit = kinds.of(self._valid).clock.unit
        return (
            f"A new run goes on from the checkpoint of {unit} {self._point.step:,}, with what is "
            f"changed here; this run stays as it is. It ends after {budget_text(self._valid)}."
        )

    def finish(self) -> None:
        self.dismiss(self._valid)
