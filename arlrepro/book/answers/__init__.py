"""What each page found, in its first sentence, and what follows from it, in its last: computed from the runs.

A sentence holds what the runs there can bear: without completed runs it says so, and with too few seeds it gives no
interval.
"""
