"""Runs that leave the terminal: tables, TensorBoard, a report, pictures. One file a format."""
