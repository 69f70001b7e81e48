"""Closed-loop evaluation on the simulated station: benchmark, sweeps, ablations and paired tests."""
