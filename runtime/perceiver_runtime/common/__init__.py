"""What every floor may use: errors, records and amounts that people write, the terminal, other processes, memory of the system.

It imports the standard library and numpy.
"""
