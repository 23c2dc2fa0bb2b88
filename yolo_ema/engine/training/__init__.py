"""Training: trainer, loss, run records."""
