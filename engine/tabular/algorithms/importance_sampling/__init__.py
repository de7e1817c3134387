"""Monte Carlo methods that learn about one policy from the episodes of another. A file each."""
