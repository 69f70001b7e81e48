"""Turns a graph of uma_ros.deployment.graph into launch actions. The graph itself is plain data and tested without launch."""

import os
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from uma_ros.deployment.graph import GRAPHS, Options, enclave
from uma_ros.runtime.resources import find

HELP = {
    "station": "sim: the simulated station; hardware: the robot, beside its vendors' drivers",
    "checkpoint": "folder of the checkpoint; empty: as in the configuration",
    "prompt": "prompt file for the checkpoint: the task until another one comes; empty: as in the configuration",
    "config": "YAML file with the parameters of all nodes",
    "record": "folder for a bag; empty: no recording",
    "dry_run": "everything but motion",
    "managed": "a manager node takes the others through their life cycle; else each configures and activates itself",
    "rviz": "also start rviz2",
    "drivers": "on hardware: our own driver nodes to start, separated by commas; the rest are the vendors'",
    "seed": "of the simulated scene",
    "run_dir": "folder for the simulated calibration; empty: ~/.ros/uma/<time>",
}


def describe(graph: str) -> LaunchDescription:
    """Launch arguments for each field of `Options`, and the nodes."""
    defaults = {
        f.name: "" if f.name == "run_dir" else str(f.default).lower() if isinstance(f.default, bool) else str(f.default)
        for f in fields(Options)
    }
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=HELP[name]) for name, value in defaults.items()
    ]

    def start(context):
        given = {name: LaunchConfiguration(name).perform(context) for name in defaults}
        values = {**given, "seed": int(given["seed"]), "config": str(find(given["config"]))}
        for name in ("dry_run", "managed", "rviz"):
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

    # Discovery stays on this host unless the caller has said otherwise.
    host = (
        []
        if "ROS_AUTOMATIC_DISCOVERY_RANGE" in os.environ
        else [SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")]
    )
    return LaunchDescription([*host, *arguments, OpaqueFunction(function=start)])
