"""What everything stands on: errors, files, array types, compiling. No reinforcement learning."""
