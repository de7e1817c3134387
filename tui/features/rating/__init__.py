"""You are the reward: pairs to choose from."""
