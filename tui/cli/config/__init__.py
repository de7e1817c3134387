"""`icemaze config`: what is chosen once for all runs."""
