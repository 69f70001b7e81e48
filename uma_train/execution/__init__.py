"""How a checkpoint's chunks are executed at the simulated station."""
