"""A PointWorld-style system: dynamics of points under the motion of the gripper's points, and a planner over it."""
