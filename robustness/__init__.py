"""Campaigns that take longer than a test may: faults, soak, fuzz, safety, mutants."""
