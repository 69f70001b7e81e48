"""The FR3 over libfranka or franka_ros2: link, health, recovery."""
