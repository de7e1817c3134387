"""Runs that Ice Maze did not start: another trainer's metrics and completions, as a run of ours."""
