"""The pages of the app: each asks, lets the library compute, and shows."""
