"""Many inputs: in order, in bounded memory, each with its answer or the reason why it has none.

mapping.py goes through them in batches, listing.py finds them on a command line, lines.py writes a table that can be continued,
job.py is `perceiver run` with one.
"""
