"""Bandits: methods for one state, in which an episode is a single action. A file each."""
