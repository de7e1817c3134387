"""Reading, checking and writing presets: TOML files, see `engine.config.preset`."""

from engine.presets.reading import as_data, check, convert, dump, folder_of, load, parse, read

__all__ = ["as_data", "check", "convert", "dump", "folder_of", "load", "parse", "read"]
