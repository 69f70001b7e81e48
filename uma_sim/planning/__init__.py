"""From a scene's true state to grasps, gripper paths and sketched reference motions."""
