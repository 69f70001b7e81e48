"""Planning on a scene's true state: grasps, gripper paths and sketched reference motions."""
