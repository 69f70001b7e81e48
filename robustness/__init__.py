"""Long campaigns: faults, soak, fuzz, safety, mutants."""
