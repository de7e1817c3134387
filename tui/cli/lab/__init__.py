"""`icemaze lab`."""
