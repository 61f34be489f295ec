"""
What a person writes, as one validated value.

`parse` turns a scenario, its service and its experiments into a `Plan`, or says everything that is wrong with them.
The room reads texts only through a function it is given; it may know units and errors, nothing else of the harness.
"""
