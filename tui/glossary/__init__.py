"""The glossary: every term and symbol of the app, and what each is worth in the run shown."""

from tui.glossary.entries import Entry, Glossary, load

__all__ = ["Entry", "Glossary", "load"]
