"""The node graph as data, the supervisor of its processes, and their security."""
