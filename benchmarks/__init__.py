"""What attention costs and how fast patches are cut: `python -m benchmarks`; not a test, nothing here is asserted."""
