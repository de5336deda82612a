"""Bias probes: what is asked, how answers are scored, and whether to believe the numbers."""
