"""What the user has chosen once, read when the app starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from engine.core.user_config import UserConfig


def remembered() -> tuple[UserConfig | None, str]:
    """The user's choices, or None where nothing is chosen; and what is wrong with the file."""
    # Most people have no such file, so what reads it is not imported for them (start-up time).
    if not (Path(platformdirs.user_config_dir("icemaze")) / "config.toml").exists():
        return None, ""
    # start-up time
    from engine.core import user_config
    from engine.core.errors import UserError

    try:
        return user_config.load(), ""
    except UserError as error:
        return None, str(error)


def remember(table: str, key: str, value: object) -> str:
    """Keep a choice for the next start. Gives what went wrong, if anything did."""
    # start-up time
    from engine.core import user_config
    from engine.core.errors import UserError

    try:
        user_config.write(table, key, value)
    except UserError as error:
        return str(error)
    return ""
