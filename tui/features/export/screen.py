"""How a run leaves the app: a format, a place, Enter."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from engine.core.errors import UserError
from engine.exports.formats import BY_NAME, FORMATS, Format, default_out, export
from tui.ui import glyphs
from tui.ui.bindings import key
from tui.ui.dialog import Dialog
from tui.ui.text import clean


class ExportScreen(Dialog[None]):
    """Writes the run in a folder. What is there already is never replaced."""

    DEFAULT_CSS = """
    ExportScreen {
        & > .box { width: 76; padding: 1 2; }
        & OptionList { height: auto; margin-bottom: 1; border: none; }
        & Label { width: 1fr; height: auto; }
        & .trouble { color: $text-error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("export.close", "escape", "dismiss(None)", "Close", "Back, without writing anything"),
        key("export.next", "tab", "app.focus_next", "Next", "From the formats to the place"),
    ]

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._proposed = ""
        """The place as it was put there for the user; what they wrote themselves stays."""
        self._writing = False

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box") as box:
            box.border_title = "Export this run"
            box.border_subtitle = "Enter: write it   Tab: the place   Esc: close"
            yield OptionList(*(_option(each) for each in FORMATS), id="formats", markup=False)
            yield Label("Where to")
            yield Input(id="place", compact=True, select_on_focus=False)
            yield Label("", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    @property
    def _format(self) -> Format:
        option = self.query_one(OptionList).highlighted_option
        return BY_NAME[option.id or ""] if option else FORMATS[0]

    @on(OptionList.OptionHighlighted)
    def _propose(self) -> None:
        place = self.query_one(Input)
        if place.value == self._proposed:
            self._proposed = str(Path.cwd() / default_out(self._run_dir, self._format))
            place.value = self._proposed

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def _write(self) -> None:
        place = self.query_one(Input).value.strip()
        if self._writing:
            return
        if not place:
            self._say("Type where to: a file, or for csv, parquet and tensorboard a folder.")
            return
        self._writing = True
        self._say("Writing …", trouble=False)
        self._export(self._format, Path(place).expanduser())

    @work(thread=True, group="export", exit_on_error=False)
    def _export(self, to: Format, out: Path) -> None:
        try:
            path, error = export(self._run_dir, to, out), ""
        except (UserError, OSError) as problem:
            path, error = out, str(problem).replace(", or --force", "")
        self.app.call_from_thread(self._done, path, error)

    def _done(self, path: Path, error: str) -> None:
        self._writing = False
        if not error:
            self.app.notify(clean(f"Written to {path.absolute()}"), timeout=10, markup=False)
        if self.is_attached:
            self._say(error) if error else self.dismiss(None)
        elif error:
            self.app.notify(clean(error), severity="error", markup=False)

    def _say(self, text: str, trouble: bool = True) -> None:
        said = self.query_one("#said", Label)
        said.set_class(trouble, "trouble")
        said.update(glyphs.plain(clean(text)))


def _option(each: Format) -> Option:
    text = Content.assemble((f"{each.name:<12}", "bold"), glyphs.plain(each.what))
    return Option(text, id=each.name)
