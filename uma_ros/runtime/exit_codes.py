"""Exit codes of the nodes' processes."""

import signal

HUNG = int(signal.SIGALRM)
"""Of a node that had closed everything of its own while the middleware did not return."""
