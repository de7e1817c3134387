"""The maze: tiles, what was learned, the agent, a legend."""
