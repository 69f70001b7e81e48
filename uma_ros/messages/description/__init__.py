"""The robot as a tree of links and joints: as URDF for ``robot_description``, and as transforms for ``/tf``."""
