"""What this installation and this machine can do, and whether a GPU computes what it should."""
