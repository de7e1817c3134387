"""Many runs at once: sweeps and the challenge lab."""
