"""The trajectory log, and the arithmetic of one update."""
