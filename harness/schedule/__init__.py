"""
What should happen when: the load as a function of time, and the plan compiled to a finite list of cues. Pure.
"""
