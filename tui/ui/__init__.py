"""Widgets and words for any screen; they know nothing about runs."""
