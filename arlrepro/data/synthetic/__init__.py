"""Dermoscopic images drawn by rules, whose lesions, signs and masks are known."""
