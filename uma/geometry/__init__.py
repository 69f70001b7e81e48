"""Rotations, rigid transforms, cameras and point clouds. NumPy in, NumPy out."""
