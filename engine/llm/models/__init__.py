"""A named model becomes one that can be trained: found, fetched, loaded, with adapters."""
