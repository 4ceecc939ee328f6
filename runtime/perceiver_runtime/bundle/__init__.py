"""A bundle as data: reader.py opens the folder, manifest.py says what is in it, held_file.py keeps the bytes that were hashed.

graph_check.py walks a graph's protobuf by onnx_schema.py and writes the bytes that engines are given; memory_plan.py and
choices.py are what export decided. It imports `common` and `files`.
"""
