"""Reading, checking and writing presets: TOML files, see `engine.config.preset`."""

from engine.config.preset import LlmPreset, Preset  # users' own files import them from here
from engine.presets.reading import as_data, check, convert, dump, load, parse
from engine.presets.share_string import is_share, share
from engine.presets.source import read

__all__ = [
    "LlmPreset", "Preset", "as_data", "check", "convert", "dump", "is_share", "load", "parse",
    "read", "share",
]  # fmt: skip
