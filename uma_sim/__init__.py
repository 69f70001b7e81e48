"""The DROID station in MuJoCo: FR3, Robotiq 2F-85, an exterior RGB-D camera, tasks and a scripted demonstrator."""
