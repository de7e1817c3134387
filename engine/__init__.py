"""The Ice Maze engine: mazes, learners and runs, without any user interface."""
