"""Paths of checkpoints, configuration and calibration files: given, in the source tree, or installed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from uma.types import InputError

SOURCE = Path(__file__).resolve().parents[2]


def roots() -> list[Path]:
    """Return the search folders of relative names, in order."""
    found = [Path.cwd()]
    if (SOURCE / "package.xml").exists() and SOURCE != Path.cwd():
        found.append(SOURCE)
    try:
        from ament_index_python.packages import get_package_share_directory

        found.append(Path(get_package_share_directory("uma_ros")))
    except (ImportError, LookupError, OSError):  # no ROS index, or the package is not in it
        pass
    return found


def new_folder() -> str:
    """Return ``runs/<time>``, the default folder for the results of a command."""
    return str(Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))


def find(name: str) -> Path:
    """Return the path of the file or folder ``name``. Raises `InputError` with the searched folders."""
    path = Path(name).expanduser()
    for candidate in [path] if path.is_absolute() else [root / path for root in roots()]:
        if candidate.exists():
            return candidate
    places = "" if path.is_absolute() else f", searched {', '.join(str(r) for r in roots())}"
    raise InputError(f"{name}: no such file or folder{places}")
