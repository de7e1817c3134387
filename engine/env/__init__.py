"""The environment: settings, mazes, and the MDP made of them. NumPy only."""
