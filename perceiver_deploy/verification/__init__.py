"""Graphs against the model: verify.py runs the cases, judge.py decides, rounding.py measures what float32 leaves open."""
