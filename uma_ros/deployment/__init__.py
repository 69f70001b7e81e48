"""Node graphs as data, the supervisor of their processes, and their SROS 2 policy."""
