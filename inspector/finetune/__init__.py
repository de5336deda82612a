"""Fine-tune a model's own weights, safely, and see what changed."""
