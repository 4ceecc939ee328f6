"""`perceiver serve`: bundles on one machine over HTTP, in one process, by the Open Inference Protocol.

models.py is what is served, protocol.py requests and answers of the protocol, plain_requests.py those without it, work.py the
bounded threads that answer, metrics.py counts for Prometheus, app.py the ASGI application, server.py runs it.
"""
