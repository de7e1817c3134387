"""The exact oracle: optimal values and figures of policies, computed from the MDP."""
