"""Runs on a Ray cluster: the nodes and what they are given, the matrix as tasks, searches over settings."""
