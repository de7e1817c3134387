"""Telling the user when a run ends, fails, or a diagnosis fires, also when nobody watches."""
