"""Drawing attention to a run that is watched, as `[notify] terminal` of `config.toml` says."""

from __future__ import annotations

from engine.core import user_config
from engine.core.errors import UserError
from tui.ui.terminal_notice import sequences

ENDINGS = {"finished": "finished", "failed": "failed", "dead": "its worker is gone"}
"""States that are worth a notification. Who stopped a run knows it."""


def attention(title: str, text: str) -> str:
    """What is to be written to the terminal; nothing where nobody asked for it."""
    try:
        kinds = user_config.load().notify.terminal
    except UserError:
        return ""  # who starts the app or a run is told
    return sequences(kinds, title, text) if kinds else ""
