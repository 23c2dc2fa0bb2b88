"""Export of weights to deployment formats."""
