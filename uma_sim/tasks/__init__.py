"""One module per task: how its scene is drawn, what success means, and what a person would sketch as the reference."""
