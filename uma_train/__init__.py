"""Training and evaluation of checkpoints: data, objectives, training loop, closed-loop evaluation."""
