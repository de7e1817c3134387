"""The challenge lab: thirteen experiments, their lessons and figures."""
