"""What a model is trained to do: choose moves in cells, write routes, write text."""
