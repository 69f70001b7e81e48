"""The node graph of each deployment as data: one source for `ros2 launch` and for `uma up`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uma.settings import check_settings, setting
from uma.types import InputError

PARAMETERS = "config/parameters.yaml"
"""The parameters of all nodes, as `uma.settings` has them in the code."""
DRIVERS = {
    "camera": "a ZED through its SDK, a recording, or another camera's topics",
    "gripper": "a Robotiq 2F-85 on a serial port",
    "franka": "an FR3 through libfranka, in the place of franka_ros2 and CRISP",
    "robot": "watches a Franka behind franka_ros2 and CRISP, and recovers it",
}
"""Our own driver nodes for hardware, each in the place of a vendor's."""


@dataclass(frozen=True)
class Options:
    """What may be chosen at the start: launch arguments of these names, and the options of `uma up`.

    Raises:
        InputError: an unknown station or driver, or drivers for the simulated station.
    """

    station: str = setting(
        "sim", "the simulated station, or the robot beside its vendors' drivers", choices=("sim", "hardware")
    )
    checkpoint: str = setting("", "folder of the checkpoint; empty: as in the configuration")
    prompt: str = setting(
        "", "prompt file for the checkpoint, the task until another one comes; empty: as in the configuration"
    )
    config: str = setting(PARAMETERS, "YAML file with the parameters of all nodes")
    record: str = setting("", "folder for a bag; empty: no recording")
    dry_run: bool = setting(False, "everything but motion")
    managed: bool = setting(
        False, "a manager node takes the others through their life cycle; else each configures and activates itself"
    )
    rviz: bool = setting(False, "also start rviz2")
    drivers: str = setting(
        "",
        f"on hardware, our own driver nodes to start, separated by commas, of {', '.join(DRIVERS)}; the rest are the "
        "vendors'",
    )
    seed: int = setting(0, "of the simulated scene")
    run_dir: str = setting("", "folder for logs and the simulated calibration; empty: a new one, named by the time")

    def __post_init__(self) -> None:
        check_settings(self)
        for name in self.driver_names():
            if name not in DRIVERS:
                raise InputError(f"drivers: {name!r}, must be of {', '.join(DRIVERS)}")
        if self.driver_names() and self.station == "sim":
            raise InputError(
                f"drivers: {self.drivers!r} with station sim, which is its own; they are for station hardware"
            )

    def driver_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.drivers.split(",") if name.strip())


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph.

    Attributes:
        name: node name; also the executable in package uma_ros.
        parameters: over those of the configuration file.
        package: where a launch file finds the executable.
        module: what `python -m` runs; empty for a program that is not ours.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    package: str = "uma_ros"
    module: str = ""

    def command(self, config: str) -> list[str]:
        """How to start it without a launch system."""
        if not self.module:
            return [self.name]
        words = [sys.executable, "-m", self.module, "--ros-args", "-r", f"__node:={self.name}", "--params-file", config]
        for key, value in self.parameters.items():
            words += ["-p", f"{key}:={json.dumps(value)}"]
        return words + enclave(self.name)


def enclave(name: str) -> list[str]:
    """Where security is on, the arguments that give a node its own enclave of config/sros2_policy.xml."""
    return ["--enclave", f"/{name}"] if os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true" else []


def _node(name: str, **parameters: Any) -> NodeSpec:
    return NodeSpec(name, {k.replace("__", "."): v for k, v in parameters.items()}, module=f"uma_ros.nodes.{name}")


def _chosen(options: Options) -> dict[str, str]:
    """The policy's parameters that are not left to the configuration."""
    return {name: value for name, value in (("checkpoint", options.checkpoint), ("prompt", options.prompt)) if value}


def deployment(options: Options, task: str) -> tuple[NodeSpec, ...]:
    """The graph that does a task: on the simulated station, whose scenes are those of ``task``, or on the robot beside
    the vendors' drivers."""
    sim = options.station == "sim"
    clock = {"use_sim_time": sim}
    calibration = str(Path(options.run_dir) / "calibration.yaml")
    nodes = []
    if sim:
        nodes.append(_node("station", task=task, seed=options.seed, calibration_file=calibration))
        nodes.append(_node("camera", **clock))
    nodes += [_node(name) for name in options.driver_names()]
    nodes.append(_node("extrinsics", **clock, **({"calibration": calibration, "wait_s": 30.0} if sim else {})))
    nodes.append(_node("policy", **clock, **_chosen(options)))
    nodes.append(_node("controller", **clock, **({"autostart": True} if sim else {}), dry_run=options.dry_run))
    if options.record:
        nodes.append(_node("recorder", **clock, path=options.record))
    if options.managed:
        nodes = [replace(node, parameters={**node.parameters, "managed": True}) for node in nodes]
        nodes.append(_node("manager", nodes=[node.name for node in nodes]))
    if options.rviz:
        nodes.append(NodeSpec("rviz2", package="rviz2"))
    return tuple(nodes)


def insertion(options: Options) -> tuple[NodeSpec, ...]:
    """A utensil into a holder."""
    return deployment(options, "insertion")


def sweeping(options: Options) -> tuple[NodeSpec, ...]:
    """Paper scraps into a dustpan."""
    return deployment(options, "sweeping")


def folding(options: Options) -> tuple[NodeSpec, ...]:
    """Jeans in half."""
    return deployment(options, "folding")


REPLAY_NAMES = {
    name: f"/uma_replay/{name}"
    for name in (
        "action_chunk",
        "predicted_motion",
        "keypoints",
        "active_reference",
        "status",
        "markers",
        "configuration",
    )
}
"""Where the policy of a replay speaks: the player says on the usual topics what was said when the bag was recorded."""


def replay(options: Options) -> tuple[NodeSpec, ...]:
    """The policy alone, for `ros2 bag play --clock`: the bag has the images, the robot's state, /tf_static and the
    task."""
    names = {f"topics__{name}": topic for name, topic in REPLAY_NAMES.items()}
    return (
        _node(
            "policy",
            use_sim_time=True,
            require_controller=False,
            recorded_task="/uma/active_reference",
            **names,
            **_chosen(options),
        ),
    )


TASKS = {"insertion": insertion, "sweeping": sweeping, "folding": folding}
GRAPHS = {**TASKS, "replay": replay}
