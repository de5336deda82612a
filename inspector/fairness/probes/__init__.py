"""Probes of bias: each asks a model about a set of items and says what the answers show."""
