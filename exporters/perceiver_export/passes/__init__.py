"""Rewrites of traced graphs, one rule a file. Each changes the model it is given and returns how often it applied."""
