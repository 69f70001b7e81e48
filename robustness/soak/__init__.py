"""Soak test: hours of closed loop."""

import robustness.helpers  # noqa: F401
