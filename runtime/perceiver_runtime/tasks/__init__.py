"""What users call: one pipeline for each task (pipeline.py is their base), loading.py from a folder to it.

labels.py and byte_search.py are shared by several, known_answer.py is what a bundle is verified with. It imports all below:
`processing`, `backends`, `bundle`, `files`, `common`.
"""
