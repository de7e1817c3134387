"""The groups an update of a language model compared."""
