"""The terms of reinforcement learning, tied to what is on screen."""
