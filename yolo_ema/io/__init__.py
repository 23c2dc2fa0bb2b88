"""Files on disk and from the network: whole or not at all, checked before they are read."""
