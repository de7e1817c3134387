"""The registry of all algorithms."""
