"""Engines of a bundle's graphs: library.py finds TensorRT and is the only place that imports it, builder.py builds."""
