"""How checkpoints are made and judged: data, objectives, the training loop, evaluation."""
