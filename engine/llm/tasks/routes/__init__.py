"""The model writes whole routes, which are walked and paid for."""
