"""The page that `val --report` writes."""
