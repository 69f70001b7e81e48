"""Rosbag2 bags (MCAP) without an installed rosbag2: read, write, recover."""
