"""The challenge lab: thirteen challenges as runs, their comparison, and their lessons."""
