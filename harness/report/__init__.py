"""
Run and verdict in the forms people and machines read. Judges nothing, computes no figure of the verdict, does no I/O.
"""
