"""Conversion between ROS messages and `uma.types`, and synchronisation of message streams."""
