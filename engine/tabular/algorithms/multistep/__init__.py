"""Methods that learn from several steps at once: one textbook file each."""
