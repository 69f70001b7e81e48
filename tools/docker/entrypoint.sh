#!/bin/bash
# Run a command with ROS 2, the virtual environment and the workspace on its paths.
source /opt/ros/jazzy/setup.bash
source "${UMA_VENV:-/opt/uma-venv}/bin/activate"
[ -f /ws/install/setup.bash ] && source /ws/install/setup.bash
exec "$@"
