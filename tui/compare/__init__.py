"""Two to four runs side by side: their common clock, their figures, and how they differ."""
