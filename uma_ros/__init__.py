"""UMA on ROS 2: nodes, drivers and bags. No other package imports rclpy or ROS messages."""

import os
from pkgutil import extend_path

# A build installs the generated uma_ros.msg and uma_ros.srv in another folder, beside the ROS 2 libraries.
__path__ = extend_path(__path__, __name__)

# Restricts discovery to this host unless the environment sets a range. rclpy reads the variable when it starts.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
