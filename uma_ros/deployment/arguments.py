"""Launch arguments: texts with names become `Options`, or an error with name, value and allowed values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from uma.settings import flatten, nearest
from uma.types import InputError
from uma_ros.deployment.graph import Options

BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
"""Accepted words for a boolean, in any case."""
INHERITED = 0.85
"""Similarity from which a name of an including launch file counts as a misspelt argument."""


def options_from(words: Mapping[str, str]) -> Options:
    """Return the options of texts by name; a name that is not given keeps its default.

    Raises:
        InputError: an unknown name, or a value that its field does not allow.
    """
    known = flatten(Options())
    check_arguments(words, known)
    return Options(**{name: _value(name, text, known[name][0]) for name, text in words.items()})


def check_arguments(given: Collection[str], known: Collection[str], inherited: Collection[str] = ()) -> None:
    """Refuse unknown names of launch arguments.

    Args:
        given: names that are meant for this launch file.
        known: names of its arguments.
        inherited: names that may belong to an including launch file. Only those similar to a known name are refused.

    Raises:
        InputError: a name is refused. The message contains the nearest known name.
    """
    for name in given:
        if name not in known:
            choices = f"must be one of {', '.join(known)}"
            raise InputError(f"{name}: unknown launch argument, {choices}{nearest(name, known)}")
    for name in inherited:
        if name not in known and (hint := nearest(name, known, INHERITED)):
            raise InputError(f"{name}: unknown launch argument{hint}")


def on_command_line(words: Sequence[str], file: str) -> list[str]:
    """Return the names of the launch arguments on the command line ``words``, if it starts the launch file ``file``.

    A command line that starts another file yields none: its arguments are that file's.
    """
    if not any(word == file or word.endswith(f"/{file}") for word in words):
        return []
    return [word.partition(":=")[0] for word in words if ":=" in word]


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.strip().lower() not in BOOLEANS:
            raise InputError(f"{name}: {text!r}, must be one of {', '.join(BOOLEANS)}")
        return BOOLEANS[text.strip().lower()]
    if isinstance(default, (int, float)):
        kind, what = (int, "a whole number") if isinstance(default, int) else (float, "a number")
        try:
            return kind(text)
        except ValueError:
            raise InputError(f"{name}: {text!r}, must be {what}") from None
    return text
