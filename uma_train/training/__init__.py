"""Training: objectives, loop, adaptation of task tokens, and errors on held-out windows."""
