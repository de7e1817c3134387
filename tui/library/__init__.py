"""Presets and runs as lists and cards."""
