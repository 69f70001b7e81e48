"""Episodes on disk, and training windows of them in memory."""
