"""One setting in a form: its name, its value, which values are valid, and what it means."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Select, Static

from tui.forms.setting_spec import Setting
from tui.ui import glyphs
from tui.ui.bindings import key

Choices = Select[str]


def tunable_mark() -> str:
    """What marks a setting that may change while the run is going."""
    return "*" if glyphs.current().ascii else "•"


class Choice(Choices, inherit_bindings=False):
    """A `Select` that leaves the arrow keys to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("choice.open", "enter,space", "show_overlay", "Choose",
            "Show the values to choose from", show=False)
    ]  # fmt: skip


class Value(Input, inherit_bindings=False):
    """An `Input` without the scrolling keys it has no use for: they belong to the form."""

    BINDINGS: ClassVar[list[BindingType]] = Input.BINDINGS


class SettingField(Widget):
    """A label, an input (or a choice), the valid range and the meaning; below, what is wrong."""

    DEFAULT_CSS = """
    SettingField {
        height: auto;
        & > Horizontal { height: 1; }
        & .field--label { width: 20; color: $foreground; }
        & .field--limits { width: 1fr; height: 1; padding-left: 2; color: $text-accent; }
        & .field--meaning { padding-left: 20; color: $text-muted; }
        & .field--error { padding-left: 20; color: $text-error; display: none; }
        & Input {
            width: 20;
            background: $panel;
            &:focus { background: $primary 30%; }
            &.-wrong { background: $error 30%; }
        }
        & Choice {
            width: 26;
            & > SelectCurrent { background: $panel; }
            &:focus > SelectCurrent { background: $primary 30%; }
        }
        &.-wrong .field--error { display: block; }
    }
    """

    class Changed(Message):
        """The value was changed to `text` (empty for none)."""

        def __init__(self, field: SettingField, text: str) -> None:
            super().__init__()
            self.field, self.text = field, text

        @property
        def control(self) -> SettingField:
            """The field it happened in."""
            return self.field

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.error = ""

    def compose(self) -> ComposeResult:
        setting = self.setting
        with Horizontal():
            label = Content.assemble(
                setting.label, (f" {tunable_mark()}" if setting.tunable else "", "$text-success")
            )
            yield Static(label, classes="field--label")
            yield self._control()
            limits = "Enter shows the choices" if setting.choices else setting.limits
            yield Static(Content(glyphs.plain(limits)), classes="field--limits")
        meaning = Static(Content(glyphs.plain(setting.meaning)), classes="field--meaning")
        meaning.display = bool(setting.meaning)
        yield meaning
        yield Static(classes="field--error", markup=False)

    def _control(self) -> Input | Choice:
        setting = self.setting
        if not setting.choices:
            return Value(setting.value, compact=True, tooltip=setting.key)
        options = [(choice, choice) for choice in setting.choices]
        return Choice(
            options,
            value=setting.value or Select.NULL,
            allow_blank=setting.optional,
            prompt="default",
            compact=True,
            tooltip=setting.key,
        )

    def on_mount(self) -> None:
        """A long number shows its beginning."""
        for control in self.query(Input):
            control.cursor_position = 0

    def show_error(self, sentence: str) -> None:
        """Show what is wrong with the value; nothing when it is valid."""
        if sentence == self.error:
            return
        self.error = sentence
        self.set_class(bool(sentence), "-wrong")
        for control in self.query(Input):
            control.set_class(bool(sentence), "-wrong")
        self.query_one(".field--error", Static).update(Content(glyphs.plain(sentence)))
        if self.has_focus_within:
            self.call_after_refresh(self.bring_into_view)

    def bring_into_view(self) -> None:
        """Scroll so that meaning and error are seen too, not only the value."""
        self.scroll_visible(animate=False)

    def focus_control(self) -> None:
        """Put the cursor into it."""
        self.query_one("Input, Choice").focus()

    def on_descendant_focus(self) -> None:
        """It has the cursor: show all of it."""
        self.call_after_refresh(self.bring_into_view)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(self, event.value))

    @on(Select.Changed)
    def _chosen(self, event: Select.Changed) -> None:
        event.stop()
        text = event.value if isinstance(event.value, str) else ""
        self.post_message(self.Changed(self, text))
