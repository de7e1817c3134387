"""`icemaze sweep`."""
