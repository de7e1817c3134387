"""The disk under a run: what kind it is, whose folder it is now, and what to do when it is full."""
