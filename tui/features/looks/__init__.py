"""Colours and characters, chosen while they are seen."""
