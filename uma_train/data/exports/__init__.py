"""Training episodes in other formats, for other software."""
