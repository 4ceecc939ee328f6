"""Reading and writing what people keep: pictures, clips, sound, flow fields, arrays. Each reader bounds what a file may cost.

It imports `common`.
"""
