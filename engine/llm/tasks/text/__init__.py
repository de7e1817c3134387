"""The model writes free text, and a reward model fitted to preferences pays for it."""
