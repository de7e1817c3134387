"""The Ice Maze engine: mazes, learners and runs, without any user interface."""

from engine.core import moved

moved.install()
