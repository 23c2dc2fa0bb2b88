"""Settings of Ultralytics and torch that must hold before either is used."""
