"""A lesson of the lab by itself."""
