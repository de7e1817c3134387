"""`icemaze export`, `share` and `open --plain`: runs that leave the terminal."""
