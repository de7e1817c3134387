"""The first screen: presets, runs and the lab."""
