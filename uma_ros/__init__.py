"""UMA on ROS 2: nodes, hardware backends, bags. The one package that imports rclpy and ROS messages."""

from pkgutil import extend_path

# The generated uma_ros.msg and uma_ros.srv lie in another folder: that of the installation, beside the ROS 2 libraries.
__path__ = extend_path(__path__, __name__)
