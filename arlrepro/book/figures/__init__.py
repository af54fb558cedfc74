"""Figures and interactive pictures of the pages."""
