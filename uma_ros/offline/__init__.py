"""Bags as arrays, reports on them, and replays of the policy."""
