"""The commands of `icemaze`, one file per group. What they need is imported when they run."""
