"""`icemaze watch`: runs that Ice Maze did not start."""
