"""UMA on ROS 2: nodes, hardware backends, bags. The one package that imports rclpy and ROS messages."""

import os
from pkgutil import extend_path

# The generated uma_ros.msg and uma_ros.srv lie in another folder: that of the installation, beside the ROS 2 libraries.
__path__ = extend_path(__path__, __name__)

# Discovery stays on this host unless someone asks for more; it must be said before rclpy starts.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
