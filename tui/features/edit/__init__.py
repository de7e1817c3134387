"""Editing the maze of a run."""
