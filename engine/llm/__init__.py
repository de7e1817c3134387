"""Language models: what there is, what it costs, and how it is trained by reinforcement."""
