"""Strategies that damage a valid message, tree of values or file."""

from __future__ import annotations

import copy
import math
from array import array
from typing import Any

import numpy as np
from hypothesis import strategies as st

NAN, INF = math.nan, math.inf
FLOAT32 = 3.4e38
WORDS = [
    "",
    "x",
    "fr3_link0",
    "fr3_link8",
    "zed_left_camera_frame_optical",
    "rgb8",
    "32FC1",
    "机器人 é \x7f",
    "a" * 3000,
    "../../etc",
    "{} %s %n",
    "nan",
    "\n\r",
]
INTS = {"boolean": (0, 1), "byte": (0, 255), "octet": (0, 255), "char": (0, 255)} | {
    f"{'u' * u}int{bits}": (0, 2**bits - 1) if u else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for u in (0, 1)
    for bits in (8, 16, 32, 64)
}
DOUBLES = st.one_of(
    st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1e308, -1e308, 1e-300, 1.0, -1.0, 10.1, 1e9]),
    st.floats(-2.0, 2.0),
    st.floats(),
)
FLOATS = st.one_of(st.sampled_from([NAN, INF, -INF, 0.0, 1.5, -1.0, FLOAT32, -FLOAT32]), st.floats(-2.0, 2.0, width=32))


def scalars(kind: str) -> st.SearchStrategy | None:
    """Return the values for a scalar field of that type; None if it is a message."""
    if kind in ("double", "float64"):
        return DOUBLES
    if kind in ("float", "float32"):
        return FLOATS
    if kind == "boolean":
        return st.booleans()
    if kind in INTS:
        low, high = INTS[kind]
        edges = [v for v in (low, high, 0, 1, 2, 17, 10**9, -1) if low <= v <= high]
        return st.one_of(st.sampled_from(edges), st.integers(low, high))
    if kind.startswith("string"):
        return st.one_of(
            st.sampled_from(WORDS),
            st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20),
        )
    return None


@st.composite
def changed(draw: st.DrawFn, msg: Any, most: int = 2) -> tuple[Any, tuple[str, ...]]:
    """Generate a copy of a message with one or a few changed fields, and their dotted names."""
    msg, paths = copy.deepcopy(msg), []
    for _ in range(draw(st.integers(1, most))):
        paths.append(draw(_change(msg)))
    return msg, tuple(paths)


@st.composite
def _change(draw: st.DrawFn, msg: Any) -> str:
    """Change one field in place."""
    path, target = [], msg
    while True:
        fields = target.get_fields_and_field_types()
        name = draw(st.sampled_from(sorted(fields)))
        kind, value = fields[name], getattr(target, name)
        path.append(name)
        simple = scalars(kind)
        if simple is not None:
            setattr(target, name, draw(simple))
            return ".".join(path)
        if kind.endswith("]") or kind.startswith("sequence<"):
            target = draw(_change_list(target, name, kind))
            if target is None:
                return ".".join(path)
            path[-1] += "[]"
            continue
        target = value


@st.composite
def _change_list(draw: st.DrawFn, owner: Any, name: str, kind: str) -> Any | None:
    """Change a list as a whole, or return one of its entries, a message, to change."""
    inner = kind.removeprefix("sequence<").removesuffix(">").split("[")[0].split(",")[0]
    values, simple, fixed = list(getattr(owner, name)), scalars(inner), not kind.startswith("sequence<")
    how = draw(st.sampled_from(["entry", "entry", "empty", "shorter", "longer", "many"]))
    if not values or (fixed and how != "entry"):
        how = "entry" if values else "many"
    if how == "entry":
        i = draw(st.integers(0, len(values) - 1))
        if simple is None:
            return values[i]
        values[i] = draw(simple)
    elif how == "empty":
        values = []
    elif how == "shorter":
        values = values[:-1]
    elif simple is None:
        values = (values or [None]) * (2 if how == "longer" else 400)
        values = [v for v in values if v is not None]
    else:
        values = (values or [draw(simple)]) * (2 if how == "longer" else 20)
    _put(owner, name, values)
    return None


def _put(owner: Any, name: str, values: list) -> None:
    present = getattr(owner, name)
    if isinstance(present, array):
        values = array(present.typecode, values)
    elif isinstance(present, np.ndarray):
        values = np.array(values, present.dtype)
    setattr(owner, name, values)


# -- trees of values, as in YAML and JSON ------------------------------------------------------------------------------

ODD = [
    None,
    NAN,
    INF,
    -INF,
    -1,
    0,
    1e308,
    10**9,
    10**400,
    "",
    "x",
    "机器人",
    "x" * 2000,
    True,
    [],
    {},
    [[]],
    [0] * 300,
    [[[1.0, 2.0, 3.0]]],
    {"xyz": 1},
    {1: 2},
    "2026-13-40",
    5.5,
]
PATCHES = [
    "\n? [a]\n: b\n",
    "\nx: &a [*a]\n",
    "\nx: !!int ''\n",
    "\nx: !!timestamp foo\n",
    "\nx: !!bool maybe\n",
    "\nx: !!python/object:os.system {}\n",
    "\nx: !!binary '*'\n",
    "\nx: 0b\n",
    "\nx: " + "[" * 300,
    "\na: &a [0,0,0,0,0,0,0,0,0,0]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi"))
    + "x: *i\n",
    "\n\t- x",
    "\nx: 2026-99-99\n",
    "\nx: 99999999999999999999:59:59\n",
    "\n--- \n---\n",
    "\u0000",
    "\ufeff",
]


@st.composite
def trees(draw: st.DrawFn, tree: Any) -> Any:
    """Generate a copy of a tree of dicts and lists with one or two values changed, removed or added."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        at, key = None, None
        node = tree
        while isinstance(node, (dict, list)) and node and (at is None or draw(st.integers(0, 4)) > 0):
            at, key = node, draw(st.sampled_from(sorted(node, key=str) if isinstance(node, dict) else range(len(node))))
            node = node[key]
        if at is None:
            return draw(st.sampled_from(ODD))
        how = draw(st.sampled_from(["change", "change", "change", "drop", "add"]))
        if how == "drop":
            del at[key]
        elif how == "add" and isinstance(at, dict):
            at[draw(st.sampled_from(["unknown", "", "tools", "date", 5]))] = draw(st.sampled_from(ODD))
        else:
            at[key] = draw(st.one_of(st.sampled_from(ODD), DOUBLES, st.text(max_size=5)))
    return tree


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Generate a file with flipped, removed, inserted bytes, or with huge sizes."""
    out = bytearray(data)
    how = draw(st.sampled_from(["flip", "flip", "cut", "huge", "huge", "insert", "repeat", "noise"]))
    at = draw(st.integers(0, max(len(out) - 1, 0)))
    if how == "flip":
        for _ in range(draw(st.integers(1, 6))):
            out[draw(st.integers(0, len(out) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif how == "cut":
        del out[at:]
    elif how == "huge":
        size = draw(st.sampled_from([4, 8]))
        out[at : at + size] = draw(st.sampled_from([10**9, 2**31, 2 ** (8 * size) - 1, 10**9 + 7])).to_bytes(
            size, "little"
        )
    elif how == "insert":
        out[at:at] = draw(st.binary(min_size=1, max_size=40))
    elif how == "repeat":
        out[at:at] = out[max(at - 200, 0) : at]
    else:
        out = bytearray(draw(st.binary(max_size=200)))
    return bytes(out)
