"""`uma inspect WHAT`: finds out what a thing is and hands over to what can show it, looked up only then, so that no
package loads another's."""

from __future__ import annotations

import importlib
from pathlib import Path

from uma.types import InputError

KINDS: dict[str, tuple[str, str]] = {
    "episode": ("uma_train.data.inspect:main", "a training episode (.npz), or a folder of them, packed or not"),
    "presets": ("uma.model.summary:main", "the word presets: how many parameters each has"),
    "deployment": (
        "uma_ros.inspect:main",
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


def main(argv: list[str]) -> int:
    """Show the thing that the first argument names. Exit code as of what shows it.

    Raises:
        InputError: no argument names a thing.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: uma inspect WHAT [OPTION ...]; uma inspect WHAT --help tells more\n\nWHAT is one of")
        for _, text in KINDS.values():
            print(f"  {text}")
        return 0 if argv else 2
    if argv[0].startswith("-"):
        raise InputError(f"inspect: {argv[0]!r} comes before the thing to show; write uma inspect WHAT [OPTION ...]")
    module, _, function = KINDS[kind_of(argv[0])][0].partition(":")
    return getattr(importlib.import_module(module), function)(argv) or 0
