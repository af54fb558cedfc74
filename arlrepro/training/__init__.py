"""One training: the loop, its checkpoint, the processes that share it."""
