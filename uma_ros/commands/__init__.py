"""Subcommands of `uma` that need ROS."""
