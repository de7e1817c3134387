"""`icemaze serve`: the app in a browser."""
