"""What a model is asked and what it answers: prompts, packed passes, sampling, policies."""
