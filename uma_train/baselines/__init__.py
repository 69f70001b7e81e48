"""Baselines with the same inputs and outputs as a policy."""
