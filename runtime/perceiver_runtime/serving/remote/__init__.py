"""The parts of a client.

access.py says how a server is reached, protocol.py speaks to it, calls.py holds one call's requests, failures.py says what an
error means, graph.py is a graph as pipelines know them.
"""
