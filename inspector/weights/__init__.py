"""What can be known from the bytes of a checkpoint alone; no model is ever built here."""
