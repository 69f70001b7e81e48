"""The DROID station in MuJoCo: FR3, Robotiq 2F-85, an exterior RGB-D camera, tasks and scripted experts.

It renders without a display unless ``MUJOCO_GL`` selects another backend. An empty one counts as unset.
"""

import os

if not os.environ.get("MUJOCO_GL"):  # must precede the first import of mujoco
    os.environ["MUJOCO_GL"] = "egl"
