"""The screen of a run that another trainer carries out."""
