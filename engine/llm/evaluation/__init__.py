"""What the saved adapters of a run do in any maze, asked in a process of its own."""
