"""Algorithms of the user's own: one Python file beside a preset."""
