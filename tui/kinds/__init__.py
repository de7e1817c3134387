"""Kinds of run: what is counted, drawn and asked for in each."""
