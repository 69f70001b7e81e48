"""Typed settings: frozen dataclasses whose fields carry a description, a unit and a range.

The dataclass is the schema: ROS parameters, command lines and the YAML files in config/ follow it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

from uma.types import InputError

T = TypeVar("T")


def setting(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """Define a dataclass field with its metadata.

    Args:
        default: default value; `dataclasses.MISSING` makes the field required.
        description: starts with the unit.
        low, high: inclusive range; None = no limit.
        choices: accepted values.
        live: whether it may change while the node runs.
    """
    metadata = {"description": description, "low": low, "high": high, "choices": choices, "live": live}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    """Raise `InputError` unless a number, or each of a list, is finite and within its inclusive range; None = no
    limit."""
    for v in value if isinstance(value, (list, tuple)) else (value,):
        if (low is None or v >= low) and (high is None or v <= high) and (not isinstance(v, float) or math.isfinite(v)):
            continue
        if low is not None and high is not None:
            raise InputError(f"{name}: {v}, must be {low:g} to {high:g}")
        limit = f"at least {low:g}" if low is not None else "finite" if high is None else f"at most {high:g}"
        raise InputError(f"{name}: {v}, must be {limit}")


def within(config: Any, limits: Mapping[str, tuple[float | None, float | None]], prefix: str = "") -> None:
    """Apply `check_range` to the fields of ``config`` in ``limits``; messages start with ``prefix``."""
    for name, (low, high) in limits.items():
        check_range(prefix + name, getattr(config, name), low, high)


def check_settings(settings: Any, prefix: str = "") -> None:
    """Raise `InputError` for the first field that is out of its range."""
    for f in fields(settings):
        value, name, rule = getattr(settings, f.name), prefix + f.name, f.metadata
        if is_dataclass(value):
            check_settings(value, name + ".")
        elif rule.get("low") is not None or rule.get("high") is not None:
            check_range(name, value, rule.get("low"), rule.get("high"))
        elif rule.get("choices") and value not in rule["choices"]:
            raise InputError(f"{name}: {value!r}, must be one of {', '.join(rule['choices'])}")


def allowed(rule: Mapping[str, Any]) -> str:
    """Format a field's choices or its two-sided range; "" for any value."""
    if rule.get("choices"):
        return "one of " + ", ".join(rule["choices"])
    low, high = rule.get("low"), rule.get("high")
    return "" if low is None or high is None else f"{low:g} to {high:g}"


def nearest(name: str, known: Iterable[str], at_least: float = 0.6) -> str:
    """Return a question with the known name nearest to a misspelt one, such as "; did you mean 'rate'?".

    Args:
        at_least: smallest similarity, 0 to 1. The question is empty if no known name reaches it.
    """
    found = difflib.get_close_matches(name, list(known), 1, at_least)
    return f"; did you mean {found[0]!r}?" if found else ""


def flatten(settings: Any, prefix: str = "") -> dict[str, tuple[Any, dict]]:
    """Return dotted name -> (value, metadata), with nested dataclasses."""
    flat = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        if is_dataclass(value):
            flat.update(flatten(value, prefix + f.name + "."))
        else:
            flat[prefix + f.name] = (value, dict(f.metadata))
    return flat


def replaced(settings: Any, values: dict[str, Any]) -> Any:
    """Return a copy with replaced values of dotted names.

    Raises:
        InputError: an unknown name, or a value of the wrong type or out of its range.
    """
    known = flatten(settings)
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{name}: unknown setting, must be one of {', '.join(known)}{nearest(name, known)}")
        _check_kind(name, value, known[name][0])
    result = settings
    for name, value in values.items():
        result = _replace_one(result, name.split("."), value)
    check_settings(result)
    return result


def as_kind(value: Any, default: Any) -> Any:
    """Return a parameter's value as a list, or an integer as text, where the default is one.

    A serial number without quotes is an integer in a parameter file, on a command line and in a launch argument.
    """
    if isinstance(default, list) and isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        return list(value)
    return str(value) if isinstance(default, str) and type(value) is int else value


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Raise `InputError` if a value from a bag or a file differs in type from the default."""
    if isinstance(default, (list, tuple)):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{name}: {value!r:.80}, must be a list")
        for i, v in enumerate(value):
            _check_kind(f"{name}[{i}]", v, default[0] if default else v)
        return
    kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}.get(type(default), (type(default),))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise InputError(f"{name}: {value!r:.80}, must be a {type(default).__name__}")
    if isinstance(value, float) and value != value:
        raise InputError(f"{name}: {value}, must be a number")


def _replace_one(settings: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return dataclasses.replace(
        settings, **{head: _replace_one(getattr(settings, head), rest, value) if rest else value}
    )


def from_words(kind: type[T], words: Sequence[str], prog: str, description: str = "") -> T:
    """Parse settings from the words of a command line with tyro.

    ``--dry-run`` sets the field ``dry_run``. Required fields are positional, in their order.

    Args:
        kind: a flat dataclass whose fields are built by `setting`.
        prog: the command, for the help text.
        description: for the help text; by default the docstring of ``kind``.

    Raises:
        InputError: a value is out of its range or not among the choices.
        SystemExit: code 2 for an unknown option or a value of the wrong type, 0 after the help text.
    """
    import tyro

    hints = get_type_hints(kind)
    annotated: Any = Annotated
    required: list[Any] = []
    optional: list[Any] = []
    for f in fields(kind):  # type: ignore[arg-type]
        rule, is_required = f.metadata, f.default is MISSING and f.default_factory is MISSING
        choices = "{" + ",".join(rule["choices"]) + "}" if rule["choices"] else ""
        extent = f"; {allowed(rule)}" if allowed(rule) and not choices else ""
        metavar = choices or (f.name.upper() if is_required else None)
        hint = annotated[hints[f.name], tyro.conf.arg(help=rule["description"] + extent, metavar=metavar)]
        if is_required:
            required.append((f.name, annotated[hint, tyro.conf.Positional]))
        else:
            optional.append(
                (f.name, hint, f.default if f.default is not MISSING else field(default_factory=f.default_factory))
            )
    given: Any = tyro.cli(
        dataclasses.make_dataclass(kind.__name__, required + optional),
        args=words,
        prog=prog,
        description=description or (kind.__doc__ or "").split("\n\n")[0],
    )
    settings = kind(**vars(given))
    check_settings(settings)
    return settings
