"""What a list of runs is searched and sorted by, and what a user writes on a run: title and pin."""
