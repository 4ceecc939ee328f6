"""Engines of a bundle's graphs: found (library.py, the only place that imports TensorRT), built, kept, run.

builder.py builds, cache.py keeps what was built for machine.py's machine, runner.py runs it in memory.py's blocks, backend.py
puts these together for a pipeline.
"""
