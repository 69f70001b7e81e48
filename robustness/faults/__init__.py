"""Faults on the running graph while the arm moves."""

import robustness.helpers  # noqa: F401
