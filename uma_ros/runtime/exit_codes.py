"""Exit codes of the nodes' processes."""

import signal

REFUSED = 2
"""Exit code of a node that refuses its parameters, its files or its device."""
HUNG = int(signal.SIGALRM)
"""Exit code of a node that closed its own resources, but whose middleware did not shut down in time."""
