#!/bin/sh
# Install what rosdep does not know beside ROS 2 Jazzy on Ubuntu 24.04, whose own Python refuses pip.
#
#     src/uma_ros/tools/install_robot.sh [FOLDER]      (default: ~/uma-venv)
#
# It makes a virtual environment that sees the system's packages, and checks it. Running it again repairs it.
set -e
tools=$(cd "$(dirname "$0")" && pwd)
place=${1:-$HOME/uma-venv}
distribution=${ROS_DISTRO:-jazzy}
if [ ! -f "/opt/ros/$distribution/setup.sh" ]; then
  echo "ROS 2 $distribution is missing; see docs.ros.org, Installation, Ubuntu packages" >&2
  exit 1
fi
if ! python3 -c "import ensurepip" 2>/dev/null; then
  echo "python3-venv is missing. Type this, then run the command again:" >&2
  echo "    sudo apt-get install -y python3-venv" >&2
  exit 1
fi
. "/opt/ros/$distribution/setup.sh"
[ -x "$place/bin/python" ] || python3 -m venv --system-site-packages "$place"
touch "$place/COLCON_IGNORE"
"$place/bin/python" -m pip install -r "$tools/requirements-robot.txt" -c "$tools/constraints-noble.txt"
"$place/bin/python" -c "
import cv2, numpy, rclpy, scipy.spatial, torch
print('numpy', numpy.__version__, 'scipy', scipy.__version__, 'opencv', cv2.__version__, 'torch', torch.__version__)"
echo "Ready. In each shell, before colcon build and before each start:"
echo "    . /opt/ros/$distribution/setup.sh && . $place/bin/activate"
