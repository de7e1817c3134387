"""Widgets that know nothing about runs: they draw what they are given."""
