"""Forms: the settings of a run that starts, or is tuned."""
