"""UVA: one transformer pass over masked frames and actions, and separate light diffusion heads (arXiv 2503.00200)."""
