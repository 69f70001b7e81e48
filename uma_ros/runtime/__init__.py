"""Common parts of the nodes: base classes, topics and QoS, status, text files, resources."""
