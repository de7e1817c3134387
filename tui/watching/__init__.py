"""What the screens share that watch a run."""
