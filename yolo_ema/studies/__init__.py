"""Studies: trainings that differ in one thing, in pairs of equal seed, their records, and what can
be said of them.
"""
