"""The dialog in which a run is written to files."""
