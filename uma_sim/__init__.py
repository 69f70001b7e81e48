"""The DROID station in MuJoCo: FR3, Robotiq 2F-85, an exterior RGB-D camera, tasks and scripted experts.

It renders without a display unless ``MUJOCO_GL`` selects another backend.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # must precede the first import of mujoco
