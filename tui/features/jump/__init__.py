"""A letter on each panel: press it to go there."""
