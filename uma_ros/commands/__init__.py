"""The subcommands of `uma` that need ROS."""
