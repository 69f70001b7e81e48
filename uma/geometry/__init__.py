"""Rotations, rigid transforms, cameras and point clouds in NumPy."""
