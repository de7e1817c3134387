"""The model chooses a move in every cell: a policy table, episodes sampled from it."""
