"""The app of `icemaze play`: one maze to walk in, and no library."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from engine.runs.evaluation import PlayedWorld
from engine.runs.records import RunInfo
from tui.app import IceMazeApp
from tui.features.play.screen import PlayScreen
from tui.ui import glyphs


class PlayApp(IceMazeApp):
    """The app with nothing but a maze to play in."""

    def __init__(
        self,
        info: RunInfo,
        worlds: Sequence[PlayedWorld],
        *,
        seed: int | None = None,
        greedy: bool = False,
    ) -> None:
        super().__init__()
        self._play = PlayScreen(info, worlds, seed=seed, greedy=greedy)
        self._at_home = True  # there is no library to wait for

    def _read_library(self) -> None:  # type: ignore[override]
        """Instead of the library, the maze."""
        self.push_screen(self._play)

    def get_key_display(self, binding: Binding) -> str:
        """Arrow keys stand side by side in the key bar: one sign each, in ASCII too."""
        sign = binding.key_display or ""
        if sign and sign in glyphs.UNICODE.solid:
            return glyphs.plain(sign)
        return super().get_key_display(binding)
