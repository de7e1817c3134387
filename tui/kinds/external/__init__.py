"""Runs of other trainers: what is drawn and said of what they tell."""
