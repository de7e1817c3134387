"""The trainer: one run, live or replayed."""
