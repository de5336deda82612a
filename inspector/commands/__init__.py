"""The commands: options, one library call each, records out."""
