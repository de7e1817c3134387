"""One folder a feature: its screen, keys, widgets and styles. They know nothing of each other."""
