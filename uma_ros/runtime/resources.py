"""Paths of checkpoints, configuration and calibration files: given, in the source tree, or installed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from uma.types import InputError

SOURCE = Path(__file__).resolve().parents[2]


def roots() -> list[Path]:
    """Return the search folders of relative names, in order: the working folder, then the package's own."""
    return list(dict.fromkeys([Path.cwd(), *package_roots()]))


def package_roots() -> list[Path]:
    """Return the folders of the package's own files: the source tree, and the share folder of an installation."""
    found = []
    if (SOURCE / "package.xml").exists():
        found.append(SOURCE)
    try:
        from ament_index_python.packages import get_package_share_directory

        found.append(Path(get_package_share_directory("uma_ros")))
    except (ImportError, LookupError, OSError):  # no ROS index, or the package is not in it
        pass
    return found


def new_folder(namespace: str = "", parent: str | Path = "runs") -> str:
    """Return ``runs/<time>``, the default folder for the results of a command; in a namespace ``runs/<time>_left``."""
    parts = [datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), *filter(None, namespace.split("/"))]
    return str(Path(parent) / "_".join(parts))


def find(name: str) -> Path:
    """Return the path of the file or folder ``name``. Raises `InputError` with the searched folders.

    A relative name such as config/parameters.yaml is found from any working folder.
    """
    return _find(name, roots())


def find_own(name: str) -> Path:
    """Return the path of one of the package's own files, whatever the working folder contains. Raises `InputError`."""
    return _find(name, package_roots())


def _find(name: str, folders: list[Path]) -> Path:
    path = Path(name).expanduser()
    for candidate in [path] if path.is_absolute() else [root / path for root in folders]:
        if candidate.exists():
            return candidate
    places = "" if path.is_absolute() else f", searched {', '.join(str(r) for r in folders)}"
    raise InputError(f"{name}: no such file or folder{places}")


def exists(name: str) -> bool:
    """Return whether `find` finds ``name``."""
    try:
        find(name)
    except InputError:
        return False
    return True
