"""Episodes on disk and windows of them in memory."""
