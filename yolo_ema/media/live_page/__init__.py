"""A page in the browser that shows what is detected, while it is detected."""
