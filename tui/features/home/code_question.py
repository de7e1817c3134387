"""The question whether code of a run's own may be run, asked before the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from tui.ui import glyphs
from tui.ui.text import clean
from tui.ui.yes_no import YesNo

if TYPE_CHECKING:
    from engine.learning.custom_file import CustomFile


def ask_to_run(screen: Screen[Any], error: Exception, then: Callable[[], object]) -> bool:
    """Ask about the code that kept something from being done, and do it `then` if it may run.

    Called on a thread. False when it was something else that went wrong.
    """
    # start-up time
    from engine.tabular.custom.trust import NotTrustedError

    if not isinstance(error, NotTrustedError):
        return False
    screen.app.call_from_thread(_ask, screen, error.file, then)
    return True


def _ask(screen: Screen[Any], file: CustomFile, then: Callable[[], object]) -> None:
    question = clean(
        f"This run was made with Python code of its own: {file.path.name} (SHA-256 "
        f"{file.sha256[:12]}…). To go on, Ice Maze has to run it with your rights: it could read, "
        "change and send whatever you can. Run it, now and as long as it is unchanged?"
    )
    asked = YesNo(glyphs.plain(question), yes="Run it", no="Do not run it")
    screen.app.push_screen(asked, partial(_answered, screen, file, then))


def _answered(
    screen: Screen[Any], file: CustomFile, then: Callable[[], object], sure: bool | None
) -> None:
    # start-up time
    from engine.core.errors import UserError
    from engine.tabular.custom.trust import remember

    if not sure:
        return
    try:
        remember(file)
    except UserError as error:  # it holds until the app is left
        screen.notify(clean(str(error)), severity="warning", markup=False)
    then()
