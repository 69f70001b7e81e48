"""Studies of the paper's mechanisms on a small synthetic world."""
