"""Launch actions for the graphs of uma_ros.deployment.graph."""

import os
from datetime import datetime
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from uma.settings import flatten
from uma_ros.deployment.graph import GRAPHS, Options, enclave
from uma_ros.runtime.resources import find


def describe(graph: str) -> LaunchDescription:
    """Return the launch description of ``graph``, with a launch argument for each field of `Options`."""
    options = flatten(Options())
    arguments = [
        DeclareLaunchArgument(
            name,
            default_value=str(value).lower() if isinstance(value, bool) else str(value),
            description=rule["description"],
        )
        for name, (value, rule) in options.items()
    ]

    def start(context):
        given = {name: LaunchConfiguration(name).perform(context) for name in options}
        values = {**given, "seed": int(given["seed"]), "config": str(find(given["config"]))}
        for name in (name for name, (value, _) in options.items() if isinstance(value, bool)):
            values[name] = given[name].lower() in ("true", "1", "yes")
        values["run_dir"] = given["run_dir"] or str(
            Path.home() / ".ros/uma" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        )
        return [
            Node(
                package=spec.package,
                executable=spec.name,
                name=spec.name,
                output="screen",
                parameters=[values["config"], spec.parameters],
                ros_arguments=enclave(spec.name),
            )
            for spec in GRAPHS[graph](Options(**values))
        ]

    # Restricts discovery to this host unless the environment sets a range.
    host = (
        []
        if "ROS_AUTOMATIC_DISCOVERY_RANGE" in os.environ
        else [SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")]
    )
    return LaunchDescription([*host, *arguments, OpaqueFunction(function=start)])
