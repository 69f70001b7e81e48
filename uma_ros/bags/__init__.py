"""Reading, writing and recovery of rosbag2 bags (MCAP) without an installed rosbag2."""
