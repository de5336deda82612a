"""Records as charts and documents."""
