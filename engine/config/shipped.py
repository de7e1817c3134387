"""Where the shipped presets are, and which file a name means."""

from __future__ import annotations

from pathlib import Path

from engine.core.errors import UserError, nearest_few, shown

_INSTALLED = Path(__file__).parents[1] / "_presets"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "presets"
"""Where the shipped presets are: inside the installed package, or beside it in a checkout."""
LAB_FOLDER = "lab"
"""The subfolder of the shipped presets with a folder for each challenge of the lab, …"""


CHALLENGE_FILE = "challenge.toml"
"""… which holds the challenge's presets and this file, which is none."""


def shipped_files() -> dict[str, Path]:
    """The files of the shipped presets by name, sorted: those of the lab's challenges too."""
    folder = FOLDER
    lab = (path for path in folder.glob(f"{LAB_FOLDER}/*/*.toml") if path.name != CHALLENGE_FILE)
    files = {path.stem: path for path in [*sorted(lab), *folder.glob("*.toml")]}
    return dict(sorted(files.items()))


def shipped_names() -> list[str]:
    """The names of the shipped presets, sorted."""
    return list(shipped_files())


STDIN = Path("/dev/stdin")
"""What the name `-` stands for: the preset is piped in."""


def find_preset(name_or_file: str) -> Path:
    """The file of a shipped preset's name, of a path or of `-`. Raises UserError for none."""
    if name_or_file == "-":
        return STDIN
    path = Path(name_or_file)
    if path.suffix == ".toml" or "/" in name_or_file:
        if not _exists(path):
            raise UserError(
                f"{shown(name_or_file, 500)}: there is no such file. Give the path of a TOML file, "
                "or a name from `icemaze presets list`."
            )
        return path
    shipped = shipped_files()
    if name_or_file not in shipped:
        raise UserError(
            f"There is no preset named '{shown(name_or_file)}'."
            f"{nearest_few(name_or_file, list(shipped))} `icemaze presets list` shows them all."
        )
    return shipped[name_or_file]


def _exists(path: Path) -> bool:
    """Whether there is something, and not whether the name is one that a file can have."""
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False
