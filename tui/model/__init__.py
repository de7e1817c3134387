"""What a screen shows: snapshots of a run, read by a thread of their own."""
