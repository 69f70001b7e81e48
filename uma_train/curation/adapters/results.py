"""Results of other models as files, ``.npz`` read without pickle. Their code runs elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.checkpoint.npz import load_arrays
from uma.types import InputError

NAMES = (
    "{}.npz",
    "{}.result.npz",  # TAPIP3D
    "{}_sgd_cvd_hr.npz",  # MegaSaM, consistent depth
    "{}_droid.npz",  # MegaSaM, tracking alone
    "{}/exports/mini_npz/results.npz",  # Depth Anything 3
    "{}/exports/npz/results.npz",
)
"""Where the projects write the result of a clip; the first one present counts."""


@dataclass(frozen=True)
class Results:
    """A folder with one result a clip.

    Attributes:
        folder, model: where, and what made them.
    """

    folder: str
    model: str

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"files-{self.model}"


def path_of(folder: str, name: str) -> Path | None:
    """Return the result of a clip; None without one."""
    paths = (Path(folder) / pattern.format(name) for pattern in NAMES)
    return next((path for path in paths if path.is_file()), None)


def read(folder: str, name: str) -> tuple[dict[str, np.ndarray], Path]:
    """Return the arrays of a clip's result, and its file.

    Raises:
        InputError: absent or damaged.
    """
    path = path_of(folder, name)
    if path is None:
        raise InputError(f"{Path(folder) / name}.npz: absent, required for the clip {name}")
    try:
        return load_arrays(path), path
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def first(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: Path) -> np.ndarray | None:
    """Return the first array present of some names; None if none is.

    Raises:
        InputError: it is empty or does not hold numbers.
    """
    found = [(name, arrays[name]) for name in names if name in arrays]
    if not found:
        return None
    name, value = found[0]
    if value.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name}: {value.dtype}, must be numbers")
    if not value.size:
        raise InputError(f"{path}: {name}: shape {value.shape}, must not be empty")
    return value


def scalar(arrays: dict[str, np.ndarray], name: str, path: Path) -> float | None:
    """Return a single number; None if it is absent.

    Raises:
        InputError: it is not one number.
    """
    value = first(arrays, (name,), path)
    if value is not None and value.size != 1:
        raise InputError(f"{path}: {name}: shape {value.shape}, must be one number")
    return None if value is None else float(value.item())
