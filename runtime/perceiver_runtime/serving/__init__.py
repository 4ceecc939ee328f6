"""The same bundle past one machine: a model repository for Triton, and pipelines whose graphs run on a server.

model_config.py writes one model's config.pbtxt, repository.py a bundle's models, python_model.py is what Triton's Python
backend runs of them, connecting.py makes pipelines of whatever serves them, which client.py talks to. Their parts are in the
folders repositories and remote.
"""
