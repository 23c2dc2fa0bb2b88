"""One frozen options object per verb, from which its command line is made; nothing heavy."""
