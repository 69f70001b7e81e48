"""ROS messages to the types of `uma.types` and back, and the streams of messages of one instant."""
