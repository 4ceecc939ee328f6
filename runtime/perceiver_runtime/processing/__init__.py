"""Numbers only: texts, pictures, sound, clips and flow to the arrays that graphs take, and back. No graph is run here.

It imports `files`, for types, and `common`.
"""
