"""The map of algorithms."""
