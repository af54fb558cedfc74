"""Arrays in, metrics with intervals out; no torch."""
