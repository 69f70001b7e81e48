"""The DROID station in MuJoCo: FR3, Robotiq 2F-85, an exterior RGB-D camera, tasks and a scripted demonstrator.

Renders without a display unless ``MUJOCO_GL`` says otherwise.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # must be set before mujoco is first imported
