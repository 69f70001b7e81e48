"""`uma teach`: the page in this terminal, for a graph that runs already or together with a simulated one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

from uma.settings import from_words, setting
from uma.types import InputError
from uma_ros.deployment.discovery import RANGE, discovery_range
from uma_ros.deployment.graph import PARAMETERS, TASKS, Options, teach
from uma_ros.runtime.names import NAMESPACE, check_namespace
from uma_ros.runtime.resources import find
from uma_ros.teach.page import load_viser


@dataclass(frozen=True)
class TeachOptions:
    """Serve a page on which a person shows what should move, beside a running graph, or with --task in one of its
    own in simulation."""

    task: str = setting("", "also start the simulated graph of a task", choices=("", *TASKS))
    host: str = setting("127.0.0.1", "address where the page listens; 0.0.0.0 opens it to the network")
    port: int = setting(8080, "port of the page", 1, 65535)
    token: str = setting("", "opens the page; empty: a new one, printed")
    seed: int = setting(0, "with --task: seed of the scene", 0, 2**31 - 1)
    checkpoint: str = setting("", "with --task: folder of the checkpoint; empty: as in the configuration")
    station: str = setting(
        "sim", "whose clock counts, that of the simulation or of this host", choices=("sim", "hardware")
    )
    config: str = setting(PARAMETERS, "YAML file with the parameters of all nodes")
    robot: str = setting("", "robot file; empty: as in the configuration")
    namespace: str = setting("", NAMESPACE)

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        if self.checkpoint and not self.task:
            raise InputError(f"checkpoint: {self.checkpoint}, needs --task; a graph that runs already has its own")


def main(argv: list[str]) -> int:
    """Run the command. Return the exit code of the node, or of the graph.

    Raises:
        InputError: a wrong argument, or viser is missing.
    """
    args = from_words(TeachOptions, argv, "uma teach")
    load_viser()
    if args.task:
        return _with_graph(args)
    options = Options(station=args.station, config=str(find(args.config)), robot=args.robot, namespace=args.namespace)
    (spec,) = teach(options)
    spec = replace(spec, parameters={**spec.parameters, **_own(args)})
    os.environ[RANGE] = discovery_range("", os.environ)
    sys.stdout.flush()
    words = spec.command(options.config)
    os.execv(words[0], words)


def _own(args: TeachOptions) -> dict[str, str | int]:
    """Return the parameters of the node that differ from the defaults; the others are as in the configuration."""
    names = ("host", "port", "token")
    return {name: getattr(args, name) for name in names if getattr(args, name) != getattr(TeachOptions(), name)}


def _with_graph(args: TeachOptions) -> int:
    from uma_ros.deployment.up import main as up

    if args.station != "sim":
        raise InputError("task: is for station sim; on hardware start `uma up TASK --teach` or the launch file")
    words = [args.task, "--teach", "--seed", str(args.seed), "--config", args.config]
    for name in ("checkpoint", "namespace", "robot"):
        words += [f"--{name}", getattr(args, name)] if getattr(args, name) else []
    return up(words, {"teach": _own(args)})
