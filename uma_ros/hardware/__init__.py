"""Devices behind small protocols. Nothing here imports ROS; vendors' libraries are imported where they are first
needed."""
