"""The publication: its numbers, whether they can be true, the claims and their verdicts."""
