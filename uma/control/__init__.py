"""What happens to a chunk before a robot sees it. Plain Python: every decision here is driven by a clock that the
caller passes in."""
