"""Closed-loop success at the simulated station: benchmark, sweeps, ablations and paired tests."""
