"""Exit codes of the nodes' processes."""

import signal

HUNG = int(signal.SIGALRM)
"""Exit code of a node that closed its own resources, but whose middleware did not shut down in time."""
