"""The parts of a model repository for Triton.

models.py says which models a bundle becomes, version_files.py writes a version's folder, existing.py keeps what people asked
for or wrote in a config.pbtxt before (pbtxt.py reads and changes such text), versions.py lists and removes versions.
"""
