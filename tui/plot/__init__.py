"""Curves in a terminal; they know nothing about runs."""
