"""The proof that an exported file gives the boxes of its weights."""
