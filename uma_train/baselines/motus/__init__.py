"""Motus: three experts with one shared attention, and latent actions from optical flow (arXiv 2512.13030)."""
