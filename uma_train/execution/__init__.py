"""Execution of a checkpoint's chunks at the simulated station."""
