"""Perceiver IO models to ONNX graphs: wrappers per task, tracing, and passes that rewrite the graphs for a target.

It ends at files in a folder; what makes a bundle of them (manifest, known answer, verification) is perceiver_deploy's.
"""

from perceiver_export.export import MissingPlanWarning, export_graphs
from perceiver_export.tasks.registry import GRAPHS

__all__ = ["GRAPHS", "MissingPlanWarning", "export_graphs"]
