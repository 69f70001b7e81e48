"""Parts of the policy node: settings, worker thread, sources of tasks."""
