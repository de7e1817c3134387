"""A run's past: where one can stop in it, and going on from there as another run."""
