"""A run on disk: its store, its worker process and the commands they exchange."""
