"""The policy beside its node: the worker thread, and where a task can come from."""
