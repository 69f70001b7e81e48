"""Generated input at every callback, service, parameter and file reader."""

import robustness.helpers  # noqa: F401
