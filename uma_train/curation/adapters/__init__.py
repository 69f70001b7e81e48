"""Results and weights of other people's models, from local folders."""
