"""What every node stands on: base classes, topics and QoS, status, files and resources."""
