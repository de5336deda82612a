"""Look inside a transformer: weights, decisions, fairness, fine-tuning; every number with its trust."""
