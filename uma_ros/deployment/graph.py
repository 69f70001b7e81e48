"""The node graph of each deployment as data, for `ros2 launch` and `uma up`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uma.settings import check_settings, flatten, setting
from uma.types import InputError
from uma_ros.runtime.exit_codes import REFUSED
from uma_ros.runtime.names import check_namespace, full_name
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import load_robot, robot

PARAMETERS = "config/parameters.yaml"
"""Configuration file with the parameters of all nodes."""
ROBOT_FILE = "config/robot.yaml"
TEACH_HEARTBEAT_S = 1.0
"""Longest silence of the operator's page before the arm holds, seconds."""
RVIZ = "config/uma.rviz"
"""What rviz2 shows."""
DRIVERS = {
    "camera": "a ZED through its SDK, a recording, or another camera's topics",
    "gripper": "a Robotiq 2F-85 on a serial port",
    "franka": "an FR3 through libfranka, instead of franka_ros2 and CRISP",
    "robot": "monitor of a Franka behind franka_ros2 and CRISP, with recovery",
}
"""Driver nodes of this package -> their hardware."""


@dataclass(frozen=True)
class Options:
    """Options of a graph: the launch arguments, and the command line of `uma up`.

    Raises:
        InputError: an unknown station or driver, drivers for the simulated station, or an invalid namespace.
    """

    station: str = setting("sim", "simulated station or hardware", choices=("sim", "hardware"))
    checkpoint: str = setting("", "folder of the checkpoint; empty: as in the configuration")
    prompt: str = setting(
        "", "prompt file for the checkpoint, the task until another one arrives; empty: as in the configuration"
    )
    config: str = setting(PARAMETERS, "YAML file with the parameters of all nodes")
    robot: str = setting("", f"robot file: names of frames and joints, and the tool; empty: {ROBOT_FILE}")
    record: str = setting("", "folder for a bag; empty: no recording")
    demonstrations: str = setting("", "folder for demonstrations, one bag an episode (uma demonstrate); empty: none")
    dry_run: bool = setting(False, "run everything without motion of the robot")
    managed: bool = setting(
        False, "a manager node runs the life cycle of the others; otherwise each configures and activates itself"
    )
    teach: bool = setting(
        False,
        "also serve the page on which a person shows what should move; the arm then holds without the operator's page",
    )
    rviz: bool = setting(False, "also start rviz2 with config/uma.rviz")
    namespace: str = setting(
        "", "namespace of the nodes, such as left, for several robots in one ROS domain; empty: the root"
    )
    description: str = setting(
        "auto",
        "robot_description and the frames of the robot's links: own = by this package, off = by another one; auto = "
        "own in simulation and with the driver franka",
        choices=("auto", "own", "off"),
    )
    drivers: str = setting(
        "",
        f"driver nodes of this package to start on hardware, comma-separated, from {', '.join(DRIVERS)}; the others "
        "are the vendors'",
    )
    calibration: str = setting("", "calibration file of the camera on hardware; empty: as in the configuration")
    camera: str = setting("", "key of the camera in that file; empty: as in the configuration")
    host: str = setting(
        "all",
        "what this host runs: all, everything but the policy (robot), or the policy alone (policy)",
        choices=("all", "robot", "policy"),
    )
    image_transport: str = setting(
        "", "images of the policy, raw or compressed; empty: as in the configuration", choices=("", "raw", "compressed")
    )
    discovery: str = setting(
        "",
        "hosts that see the nodes: this one (localhost) or the local network (subnet); empty: as "
        "ROS_AUTOMATIC_DISCOVERY_RANGE says, or localhost",
        choices=("", "localhost", "subnet"),
    )
    keep_going: bool = setting(
        False, "after the end of a node, keep the others running (the arm holds) instead of ending all"
    )
    seed: int = setting(0, "seed of the simulated scene", 0, 2**31 - 1)
    max_departure: float = setting(
        0.15,
        "m; on hardware, the controller's max_departure where the configuration leaves it at 0; 0 = no check",
        0.0,
        2.0,
    )
    run_dir: str = setting("", "folder for logs and the simulated calibration; empty: a new folder named by the time")

    def __post_init__(self) -> None:
        check_settings(self)
        check_namespace(self.namespace)
        for name in self.driver_names():
            if name not in DRIVERS:
                raise InputError(f"drivers: {name!r}, must be one of {', '.join(DRIVERS)}")
        if self.driver_names() and self.station == "sim":
            raise InputError(
                f"drivers: {self.drivers!r}, must be empty for station sim; drivers are for station hardware"
            )

        for name in ("record", "demonstrations"):
            if getattr(self, name) and self.host == "policy":
                raise InputError(
                    f"{name}: {getattr(self, name)!r}, must be empty for host policy; the robot's host records"
                )
        for name in ("calibration", "camera"):
            if getattr(self, name) and self.station == "sim":
                raise InputError(
                    f"{name}: {getattr(self, name)!r}, must be empty for station sim, which writes its own calibration"
                )

    def describes_robot(self) -> bool:
        """Return whether this package publishes the robot's description and the frames of its links."""
        if self.description == "auto":
            return self.station == "sim" or "franka" in self.driver_names()
        return self.description == "own"

    def driver_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.drivers.split(",") if name.strip())


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph.

    Attributes:
        name: node name; also the executable in package uma_ros.
        parameters: parameters that override the configuration file.
        package: package of the executable, for launch files.
        module: module for `python -m`; empty for a program of another package.
        arguments: words on the command line of a program of another package.
        namespace: namespace of the node, such as /left; empty: the root.
        remappings: pairs of a topic and its other name.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    package: str = "uma_ros"
    module: str = ""
    arguments: tuple[str, ...] = ()
    namespace: str = ""
    remappings: tuple[tuple[str, str], ...] = ()

    @property
    def full_name(self) -> str:
        """The node's name with its namespace, such as /left/controller."""
        return full_name(self.name, self.namespace)

    def command(self, config: str) -> list[str]:
        """Return the command that starts the process without a launch system."""
        names = [("__ns", self.namespace)] if self.namespace else []
        renamed = [word for pair in (*names, *self.remappings) for word in ("-r", ":=".join(pair))]
        words = [self.name, *self.arguments, "--ros-args", *renamed]
        if self.module:
            words = [sys.executable, "-m", self.module, "--ros-args", "-r", f"__node:={self.name}", *renamed]
            words += ["--params-file", config]
        for key, value in self.parameters.items():
            words += ["-p", f"{key}:={json.dumps(value)}"]
        return words + enclave(self.full_name)


def enclave(node: str) -> list[str]:
    """Return the arguments for the enclave of a node's full name, as in config/sros2_policy.xml; empty with security
    off."""
    return ["--enclave", node] if os.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true" else []


def _node(name: str, **parameters: Any) -> NodeSpec:
    return NodeSpec(name, {k.replace("__", "."): v for k, v in parameters.items()}, module=f"uma_ros.nodes.{name}")


def _chosen(options: Options, *names: str) -> dict[str, str]:
    """Return the options of these ``names`` that are set: parameters of the same name."""
    return {name: getattr(options, name) for name in names if getattr(options, name)}


def deployment(options: Options, task: str) -> tuple[NodeSpec, ...]:
    """Return the graph of a task, on the simulated station with scenes of ``task`` or on hardware."""
    sim = options.station == "sim"
    clock = {"use_sim_time": sim}
    calibration = str(Path(options.run_dir) / "calibration.yaml")
    nodes = []
    if sim:
        nodes.append(_node("station", task=task, seed=options.seed, calibration_file=calibration))
        nodes.append(_node("camera", **clock))
    nodes += [_node(name) for name in options.driver_names()]
    chosen = {"calibration": calibration, "wait_s": 30.0} if sim else _chosen(options, "calibration", "camera")
    nodes.append(_node("extrinsics", **clock, **chosen))
    nodes.append(_node("policy", **clock, **_chosen(options, "checkpoint", "prompt", "image_transport")))
    own: dict[str, Any] = {"autostart": True} if sim else {"max_departure": options.max_departure}
    own |= {"heartbeat_s": TEACH_HEARTBEAT_S, "autostart": False} if options.teach else {}
    nodes.append(_node("controller", **clock, **own, dry_run=options.dry_run))
    if options.describes_robot():
        nodes.append(_node("robot_state", **clock, meshes=options.rviz))
    if options.teach:
        nodes.append(_node("teach", **clock))
    if options.record or options.demonstrations:
        nodes.append(_node("recorder", **clock, path=options.record, **_chosen(options, "demonstrations")))
    if options.host != "all":
        nodes = [node for node in nodes if (node.name == "policy") == (options.host == "policy")]
    if options.managed:
        nodes = [replace(node, parameters={**node.parameters, "managed": True}) for node in nodes]
        nodes.append(_node("manager", nodes=[node.name for node in nodes]))
    if options.rviz:
        base = (load_robot(options.robot) if options.robot else robot()).base_frame
        view = ("-d", str(find(RVIZ)), "-f", base)
        nodes.append(NodeSpec("rviz2", clock, package="rviz2", arguments=view, remappings=_view_names(options)))
    return _placed(nodes, options, own_clock=sim)


def _view_names(options: Options) -> tuple[tuple[str, str], ...]:
    """Return the remappings of the full names in config/uma.rviz to those in the namespace of the options."""
    if not options.namespace.strip("/"):
        return ()
    from uma_ros.runtime.topics import Topics  # needs ROS, as rviz2 does

    names = (topic for topic, _ in flatten(Topics()).values())
    return tuple((full_name(name), name) for name in names if not name.startswith("/"))


def _placed(nodes: Iterable[NodeSpec], options: Options, own_clock: bool = False) -> tuple[NodeSpec, ...]:
    """Return the nodes with the robot file of the options, in their namespace.

    Args:
        own_clock: the graph has a simulated station. In a namespace its clock is the namespace's own, so that two
            simulated stations in one domain do not set each other's time.
    """
    own = {"robot": options.robot} if options.robot else {}
    nodes = [replace(node, parameters={**own, **node.parameters}) if node.module else node for node in nodes]
    if not options.namespace.strip("/"):
        return tuple(nodes)
    renamed = (("/clock", "clock"),) if own_clock else ()
    namespace = full_name(options.namespace)
    return tuple(replace(node, namespace=namespace, remappings=(*node.remappings, *renamed)) for node in nodes)


def teach(options: Options) -> tuple[NodeSpec, ...]:
    """Return the page alone, beside a graph that runs already."""
    sim = options.station == "sim"
    return _placed([_node("teach", use_sim_time=sim)], options, own_clock=sim)


def insertion(options: Options) -> tuple[NodeSpec, ...]:
    """Return the graph that inserts a utensil into a holder."""
    return deployment(options, "insertion")


def sweeping(options: Options) -> tuple[NodeSpec, ...]:
    """Return the graph that sweeps paper scraps into a dustpan."""
    return deployment(options, "sweeping")


def folding(options: Options) -> tuple[NodeSpec, ...]:
    """Return the graph that folds jeans in half."""
    return deployment(options, "folding")


def ends_graph(name: str, code: int | None, keep_going: bool) -> bool:
    """Return whether the end of a node with an exit code ends the others.

    With ``keep_going`` they continue, unless the recorder refused its folder: a start with a recording needs it.
    """
    return not keep_going or (name == "recorder" and code == REFUSED)


REPLAY_NAMES = {
    name: f"uma_replay/{name}"
    for name in (
        "action_chunk",
        "predicted_motion",
        "keypoints",
        "active_reference",
        "execute_task",
        "status",
        "markers",
        "configuration",
    )
}
"""Topics of the policy in a replay, relative to its namespace. The bag player publishes on the usual topics."""


def replay(options: Options) -> tuple[NodeSpec, ...]:
    """Return the graph of the policy alone, for `ros2 bag play --clock`.

    The bag contains the images, the robot states, /tf_static and the task.
    """
    names = {f"topics__{name}": topic for name, topic in REPLAY_NAMES.items()}
    policy = _node(
        "policy",
        use_sim_time=True,
        require_controller=False,
        finish_after_s=0.0,
        recorded_task="uma/active_reference",
        **names,
        **_chosen(options, "checkpoint", "prompt"),
    )
    return _placed([policy], options)


TASKS = {"insertion": insertion, "sweeping": sweeping, "folding": folding}
GRAPHS = {**TASKS, "replay": replay, "teach": teach}
