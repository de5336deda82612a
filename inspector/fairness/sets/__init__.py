"""Readers of test material: one file for each published set, and those for one's own."""
