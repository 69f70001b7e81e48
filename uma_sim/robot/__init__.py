"""The arm, the gripper and the RGB-D camera of the station as MuJoCo models."""
