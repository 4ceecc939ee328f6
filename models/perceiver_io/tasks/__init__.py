"""The model of each task, made of `parts`; registry.py names them."""
