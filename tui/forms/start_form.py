"""Forms for settings: before a start, and while a run is going."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Collapsible, Footer, Input, Static

from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.learning.events import Tuned
from engine.learning.tuning import tuned_settings
from tui import kinds
from tui.forms import setting_switches
from tui.forms.setting_field import SettingField, tunable_mark
from tui.forms.setting_spec import Draft, Sections, sections
from tui.library.facts_of import budget_text, pace_text
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.text import clean
from tui.ui.yes_no import YesNo

Result = TypeVar("Result")

AROUND = 8
"""Lines of a form around its fields: border, title, purpose, footer."""


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Scrolls to the field that has the focus, and leaves the arrow keys to the form."""


class SettingsForm(ModalScreen[Result]):
    """Fields for the settings of a preset, each checked at every change. Enter submits."""

    CSS_PATH = "start_form.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (Textual's own type)
    AUTO_FOCUS = "#submit"
    SUBMIT: ClassVar[str]
    """The word on the button."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("form.cancel", "escape", "cancel", "Back", "Change nothing, go back"),
        key("form.previous", "up", "go(-1)", "Previous", "Go to the setting above"),
        key("form.next", "down", "go(1)", "Next", "Go to the setting below"),
    ]

    def __init__(self, preset: Preset, shown: Sections) -> None:
        super().__init__()
        self._begun = preset
        self._preset, self._shown = preset, shown
        self._draft = Draft(preset)
        self._valid = preset
        self._refused: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        with Vertical(id="form"):
            with Horizontal(id="form-head"):
                yield Static(self._title(), id="form-title")
                yield Button(f"{self.SUBMIT} (Enter)", id="submit", variant="success", compact=True)
                yield Button("Back (Esc)", id="cancel", compact=True)
            yield Static(id="form-status", markup=False)
            yield Fields(*self._fields(), id="form-fields")
        yield Footer(show_command_palette=False)

    def _fields(self, *, unfolded: bool = False) -> Iterable[Widget]:
        """A heading and fields for each group; what matters less is folded."""
        for heading, group in self._shown.main.items():
            yield Static(Content(glyphs.plain(heading)), classes="form-heading")
            yield from (SettingField(setting) for setting in group)
        if self._shown.advanced:
            shapes = glyphs.current()
            yield Collapsible(
                *(SettingField(setting) for setting in self._shown.advanced),
                title="More settings",
                collapsed=not unfolded,
                collapsed_symbol=shapes.folded,
                expanded_symbol=shapes.unfolded,
                id="form-advanced",
            )

    def on_mount(self) -> None:
        """Say what the form is for, and what is wrong with the preset as it is."""
        self._show_errors()

    def on_resize(self) -> None:
        """The form is as high as its fields, and these scroll when that is too high."""
        self.query_one(Fields).styles.max_height = max(self.size.height - AROUND, 4)

    def action_go(self, by: int) -> None:
        """The setting below or above. Back, which drops what was typed, is left to Tab and Esc."""
        chain = [widget for widget in self.focus_chain if widget.id != "cancel"]
        here = chain.index(self.focused) if self.focused in chain else 0
        chain[(here + by) % len(chain)].focus()

    # ------------------------------------------------------------ what is typed

    @on(SettingField.Changed)
    async def _changed(self, event: SettingField.Changed) -> None:
        event.stop()
        setting = event.field.setting
        if not event.field.is_attached:  # it belonged to the form as it was before a switch
            return
        if setting.key not in setting_switches.KEYS:
            self._draft.set(setting.key, event.text)
        elif event.text != setting.value:
            await self._switch(setting.key, event.text)
        else:
            self._refused.pop(setting.key, None)
        self._show_errors()

    async def _switch(self, key: str, value: str) -> None:
        """Start over with the settings of another algorithm, or of another way to explore."""
        self._refused.pop(key, None)
        try:
            self._preset = setting_switches.switched(self._draft.valid(), key, value)
        except UserError as error:
            self._refused[key] = clean(str(error).removeprefix("form: "))
            return
        self._refused.clear()
        self._shown = self.shown_of(self._preset)
        self._draft = Draft(self._preset)
        self.query_one("#form-title", Static).update(self._title())
        fields = self.query_one(Fields)
        async with self.batch():
            await fields.remove_children()
            await fields.mount_all(self._fields(unfolded=True))
        again = [field for field in self.query(SettingField) if field.setting.key == key]
        if again:
            again[0].focus_control()

    def shown_of(self, preset: Preset) -> Sections:
        """The settings shown of a preset."""
        return sections(preset)

    def _title(self) -> Content:
        return Content(glyphs.plain(clean(self._preset.title)))

    def _show_errors(self) -> str:
        """Show each mistake under its field, those of no field on top. Gives the first of them."""
        errors = {**self._refused, **self._draft.errors}
        rest = "" if errors else self._check()
        for field in self.query(SettingField):
            key = field.setting.key
            own = errors.get(key, "")
            if not own and rest.startswith((f"{key}:", f"{key} ")):
                own, rest = rest, ""
            field.show_error(own)
        self._show_status(rest)
        return next(iter(errors.values()), rest) or next(
            (field.error for field in self.query(SettingField) if field.error), ""
        )

    def _check(self) -> str:
        try:
            self._valid = self._draft.preset()
        except UserError as error:
            return clean(str(error))
        return ""

    def _show_status(self, wrong: str) -> None:
        status = self.query_one("#form-status", Static)
        status.set_class(bool(wrong), "-wrong")
        status.update(Content(glyphs.plain(wrong or self.purpose())))

    def purpose(self) -> str:
        """What the form is for, in a line or two, with the values as they are."""
        raise NotImplementedError

    # ------------------------------------------------------------ leaving

    @on(Button.Pressed, "#submit")
    @on(Input.Submitted)
    def _submit(self) -> None:
        if self._show_errors():
            wrong = [field for field in self.query(SettingField) if field.error]
            if wrong:
                self._reveal(wrong[0])
            return
        self.finish()

    def _reveal(self, field: SettingField) -> None:
        for fold in self.query(Collapsible):
            if field in fold.query(SettingField):
                fold.collapsed = False
        field.focus_control()

    def finish(self) -> None:
        """All values are valid: dismiss with the result."""
        raise NotImplementedError

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        """Go back without a result; what was typed is not dropped unasked."""
        if self._preset is self._begun and not self._draft.edited:
            self.dismiss(None)
            return
        keys = ", ".join(self._draft.edited) or "the settings"
        question = f"You changed {keys}. Go back without that?"
        asked = YesNo(question, yes="Drop the changes", no="Stay here")
        self.app.push_screen(asked, self._leave_if)

    def _leave_if(self, sure: bool | None) -> None:
        if sure:
            self.dismiss(None)


class StartForm(SettingsForm[Preset | None]):
    """Before a start. Dismisses with the preset to run, or None. The start button has the focus."""

    SUBMIT = "Start"

    def __init__(self, preset: Preset) -> None:
        super().__init__(preset, self.shown_of(preset))

    def shown_of(self, preset: Preset) -> Sections:
        """With the algorithm and the kind of exploration among what matters less."""
        shown = sections(preset)
        advanced = [*setting_switches.switches(preset), *shown.advanced]
        return Sections(shown.main, advanced)

    def purpose(self) -> str:
        length = f"{budget_text(self._valid)}; {pace_text(self._valid)}."
        return f"{length} {tunable_mark()} marks what may also be changed while it runs."

    def finish(self) -> None:
        self.dismiss(self._valid)


class TuneForm(SettingsForm[dict[str, Any] | None]):
    """While a run is going. Dismisses with {key: new value}, ready for `tune`, or None.

    The keys are dotted (`algorithm.learning_rate`); unchanged settings are not in it. The first
    setting has the focus: it is what one comes for.
    """

    SUBMIT = "Apply"
    AUTO_FOCUS = "SettingField Input, SettingField Choice"

    def __init__(self, preset: Preset, tunes: Iterable[Tuned] = ()) -> None:
        """`preset` is the run's; `tunes` is what was changed since it started, in order."""
        preset = as_tuned(preset, tunes)
        shown = sections(preset)
        main = {
            heading: [setting for setting in group if setting.tunable]
            for heading, group in shown.main.items()
        }
        super().__init__(
            preset,
            Sections(
                {heading: group for heading, group in main.items() if group},
                [setting for setting in shown.advanced if setting.tunable],
            ),
        )

    def on_mount(self) -> None:
        """With nothing to change, the button has the focus."""
        super().on_mount()
        if not self.query(SettingField):
            self.query_one("#submit").focus()

    def purpose(self) -> str:
        if not self._shown.main:
            return "This algorithm has no setting that may change while it runs."
        unit = kinds.of(self._preset).clock.unit
        return f"These may change while the run is going; new values hold from the next {unit} on."

    def finish(self) -> None:
        self.dismiss(self._draft.changes())


def as_tuned(preset: Preset, tunes: Iterable[Tuned]) -> Preset:
    """The preset with the settings a run has now, after these changes."""
    algorithm = preset.algorithm
    for tune in tunes:
        algorithm, _ = tuned_settings(algorithm, tune.key, tune.value)
    return msgspec.structs.replace(preset, algorithm=algorithm)
