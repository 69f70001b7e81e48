"""The command `uma`: a table of subcommands. Each module is imported only when its subcommand runs."""

from __future__ import annotations

import errno
import importlib
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

from uma.types import InputError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("uma_ros.commands.demo:main", "one simulated task over ROS 2, with a report in runs/"),
    "up": ("uma_ros.deployment.up:main", "start a node graph: insertion, sweeping, folding, replay or teach"),
    "teach": ("uma_ros.teach.command:main", "a page in the browser on which a person shows what should move"),
    "reference": ("uma_ros.commands.reference:main", "send a reference motion from a YAML file"),
    "demonstrate": (
        "uma_ros.commands.demonstrate:main",
        "begin, end or discard a demonstration of the running recorder",
    ),
    "prompt": ("uma_ros.commands.prompt:main", "give the running policy a prompt file, or the task before"),
    "replay": ("uma_ros.offline.replay:main", "run the policy again on a recorded bag and compare"),
    "recover": ("uma_ros.bags.recover:main", "repair a bag after its recorder was killed"),
    "calibrate": (
        "uma_ros.calibration.calibrate:main",
        "estimate the camera extrinsics from images of a calibration board in the gripper",
    ),
    "doctor": ("uma_ros.commands.doctor:main", "what this machine has and lacks, and the line that mends it"),
    "inspect": ("uma.cli:inspect", "show an episode, a bag, a checkpoint, a calibration or the nodes' parameters"),
    "simulate": ("uma_train.cli:simulate", "record scripted demonstrations"),
    "import": (
        "uma_train.data.sources.importing:main",
        "make training episodes of bags, robot data and human video",
    ),
    "export": ("uma_train.data.exports.exporting:main", "write episodes as a LeRobot data set"),
    "curate": ("uma_train.curation.command:main", "make metric 3D tracks of RGB-D video"),
    "pack": ("uma_train.cli:pack", "pack episodes into memory-mapped shards"),
    "train": ("uma_train.cli:train", "train a checkpoint"),
    "adapt": ("uma_train.cli:adapt", "optimise the task tokens of a new task on a few demonstrations"),
    "eval": ("uma_train.cli:evaluate", "prediction errors of every inference mode on held-out episodes"),
    "ablate": ("uma_train.cli:ablate", "train and evaluate the paper's ablations on equal data and steps"),
    "compare": (
        "uma_train.cli:compare",
        "train and measure several systems on equal data, steps, parameters and scenes",
    ),
    "report": (
        "uma_train.evaluation.report.command:main",
        "the paper's tables and figures from stored runs, as HTML and PDF",
    ),
    "mechanisms": (
        "uma_train.cli:mechanisms",
        "test each of the paper's mechanisms on a small synthetic world",
    ),
    "benchmark": ("uma_train.cli:benchmark", "closed-loop success rate of a checkpoint; --ros: through the node graph"),
    "rehearse": (
        "uma_train.evaluation.rehearse:main",
        "execute a task in a copy of a running simulated scene, without moving its robot",
    ),
    "sweep": (
        "uma_train.cli:sweep",
        "closed-loop success rate against delay, reference, depth noise, camera displacement and flow steps",
    ),
}
"""name -> ('module:function', help). The function receives the remaining arguments and returns the exit code."""


FILES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""Errors of the user's disk and paths, which need no traceback."""

INSPECTED: dict[str, tuple[str, str]] = {
    "episode": ("uma_train.data.episode_report:main", "a training episode (.npz), or a folder of them, packed or not"),
    "presets": ("uma.model.summary:main", "the word presets: how many parameters each has"),
    "deployment": (
        "uma_ros.commands.inspect:main",
        "a bag, a checkpoint, a calibration, a reference motion, or the word parameters, robot or description",
    ),
}
"""kind -> ('module:function', help). The function receives all arguments and returns the exit code."""


def kind_of(what: str) -> str:
    """Return the key of `INSPECTED` for the argument ``what``."""
    if what == "presets":
        return "presets"
    path = Path(what)
    names = ("*.npz", "index.json", "card.json", "receipts", "episodes/*.npz")
    if path.suffix == ".npz" or path.is_dir() and any(any(path.glob(name)) for name in names):
        return "episode"
    return "deployment"


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand. The exit code is 2 for an unknown name, 130 after Ctrl-C and 141 after a closed pipe."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: uma COMMAND [ARGUMENT ...]; see uma COMMAND --help for details\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:<11}{text}")
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"uma: {name!r} is not a command; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    where = COMMANDS[name][0]
    if name == "benchmark" and "--ros" in rest:  # the benchmark without ROS does not import rclpy
        rest, where = [word for word in rest if word != "--ros"], "uma_ros.commands.benchmark:main"
    try:
        try:
            return _function(where)(rest) or 0
        finally:
            sys.stdout.flush()  # here a closed pipe can still be told from other errors
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if not _reader_has_ended():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush does not fail
        return 141
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("uma", "uma_ros", "uma_sim", "uma_train"):
            raise
        print(
            f"uma {name}: the Python package {error.name!r} is missing; `make setup` installs everything into .venv",
            file=sys.stderr,
        )
        return 1
    except (ValueError, OSError) as error:
        if not isinstance(error, InputError) and getattr(error, "errno", None) not in FILES:
            raise
        print(f"uma {name}: {error}", file=sys.stderr)
        return 2


def _reader_has_ended() -> bool:
    """Whether nobody reads the standard output any more, as after ``| head``."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def inspect(argv: list[str]) -> int:
    """``uma inspect WHAT``: show the object that the first argument names.

    Only the module that shows it is imported.

    Raises:
        InputError: the first argument is an option.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: uma inspect WHAT [OPTION ...]; see uma inspect WHAT --help for details\n\nWHAT is one of")
        for _, text in INSPECTED.values():
            print(f"  {text}")
        return 0 if argv else 2
    if argv[0].startswith("-"):
        raise InputError(f"inspect: {argv[0]!r} precedes the object to show; write uma inspect WHAT [OPTION ...]")
    return _function(INSPECTED[kind_of(argv[0])][0])(argv) or 0


def _function(where: str) -> Callable[[list[str]], int | None]:
    module, _, function = where.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
