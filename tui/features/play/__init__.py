"""Walking the maze oneself."""
