"""What makes the command a good citizen of a shell: completion, and examples in its help."""
