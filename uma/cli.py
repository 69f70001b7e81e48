"""The command `uma`: a table of subcommands, each looked up only when it is called, so that none loads what another
needs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from uma.types import InputError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("uma_ros.commands.demo:main", "one simulated task over ROS 2, with a report in runs/"),
    "up": ("uma_ros.deployment.up:main", "start a node graph: insertion, sweeping, folding or replay"),
    "reference": ("uma_ros.commands.reference:main", "send a reference motion from a YAML file"),
    "replay": ("uma_ros.offline.replay:main", "run the policy again on a recorded bag and compare"),
    "recover": ("uma_ros.bags.recover:main", "make a bag readable whose recorder was killed"),
    "calibrate": (
        "uma_ros.calibration.calibrate:main",
        "find where the camera stands, from pictures of a board in the gripper",
    ),
    "inspect": ("uma.cli:inspect", "show an episode, a bag, a checkpoint, a calibration or the nodes' parameters"),
    "simulate": ("uma_train.cli:simulate", "record scripted demonstrations"),
    "pack": ("uma_train.cli:pack", "pack episodes into memory-mapped shards"),
    "train": ("uma_train.cli:train", "train a checkpoint"),
    "adapt": ("uma_train.cli:adapt", "find the task tokens of a new task from a few demonstrations"),
    "eval": ("uma_train.cli:evaluate", "errors of every inference mode on held-out episodes"),
    "ablate": ("uma_train.cli:ablate", "train and judge the paper's ablations on equal data and steps"),
    "mechanisms": (
        "uma_train.cli:mechanisms",
        "prove or refute each of the paper's mechanisms on a small synthetic world",
    ),
    "benchmark": ("uma_train.cli:benchmark", "judge a checkpoint in closed loop; with --ros, through the node graph"),
    "sweep": (
        "uma_train.cli:sweep",
        "closed-loop success against delay, reference, depth noise, displaced camera and flow steps",
    ),
}
"""name -> ('module:function', what it does). The function takes the remaining arguments and returns the exit code."""


INSPECTED: dict[str, tuple[str, str]] = {
    "episode": ("uma_train.data.inspect:main", "a training episode (.npz), or a folder of them, packed or not"),
    "presets": ("uma.model.summary:main", "the word presets: how many parameters each has"),
    "deployment": (
        "uma_ros.commands.inspect:main",
        "a bag, a checkpoint, a calibration, a reference motion, or the word parameters",
    ),
}
"""kind -> ('module:function', what it is). The function takes all arguments and returns the exit code."""


def kind_of(what: str) -> str:
    """The kind of the thing named ``what``."""
    if what == "presets":
        return "presets"
    path = Path(what)
    if path.suffix == ".npz" or path.is_dir() and (any(path.glob("*.npz")) or (path / "index.json").exists()):
        return "episode"
    return "deployment"


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. Exit code 2 for a wrong name, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: uma COMMAND [ARGUMENT ...]; uma COMMAND --help tells more\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:<11}{text}")
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"uma: {name!r} is no command; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    where = COMMANDS[name][0]
    if name == "benchmark" and "--ros" in rest:  # what judges without ROS must not import it
        rest, where = [word for word in rest if word != "--ros"], "uma_ros.commands.benchmark:main"
    try:
        return _function(where)(rest) or 0
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("uma", "uma_ros", "uma_sim", "uma_train"):
            raise
        print(
            f"uma {name}: the Python package {error.name!r} is missing; `make setup` installs everything into .venv",
            file=sys.stderr,
        )
        return 1
    except ValueError as error:
        if not isinstance(error, InputError):
            raise
        print(f"uma {name}: {error}", file=sys.stderr)
        return 2


def inspect(argv: list[str]) -> int:
    """``uma inspect WHAT``: show the thing that the first argument names.

    The module that can show it is imported only then.

    Raises:
        InputError: no argument names a thing.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: uma inspect WHAT [OPTION ...]; uma inspect WHAT --help tells more\n\nWHAT is one of")
        for _, text in INSPECTED.values():
            print(f"  {text}")
        return 0 if argv else 2
    if argv[0].startswith("-"):
        raise InputError(f"inspect: {argv[0]!r} comes before the thing to show; write uma inspect WHAT [OPTION ...]")
    return _function(INSPECTED[kind_of(argv[0])][0])(argv) or 0


def _function(where: str) -> Callable[[list[str]], int | None]:
    module, _, function = where.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
