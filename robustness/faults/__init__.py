"""Faults on the live graph while the arm moves."""

import robustness.helpers  # noqa: F401
