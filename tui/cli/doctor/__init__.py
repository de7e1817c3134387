"""`icemaze doctor`: what this machine can run, and why not."""
