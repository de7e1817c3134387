"""What the textbook files share: compiled loops, tables, and the bases of their classes."""
