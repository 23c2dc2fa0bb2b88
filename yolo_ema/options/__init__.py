"""One frozen options object per verb; the command line is made from the same fields. Nothing heavy
is imported here.
"""
