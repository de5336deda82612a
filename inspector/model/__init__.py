"""Running a model: loading it checked, watching its attention, asking what its answer rests on."""
