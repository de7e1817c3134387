"""The terminal side: the command line and the Textual app, both readers of the run store."""
