"""A run: made, measured, stored, read back, compared."""
