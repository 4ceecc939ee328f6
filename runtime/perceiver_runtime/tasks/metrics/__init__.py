"""How good answers are, and how far two bundles' are apart: a metric for each task.

metric.py has the record; a task names its own.
"""
