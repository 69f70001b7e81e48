"""What a bag is on the disk: the files of a path, in the order of recording, and what each file is.

A bag is a folder, with or without metadata.yaml, or a single file. Its files are MCAP or SQLite (.db3), each plain or
compressed by zstd. A file is known by its first bytes, not by its name.
"""

from __future__ import annotations

import re
from pathlib import Path

from uma.types import InputError
from uma_ros.runtime.textfile import parse_yaml

TOPIC = "topics of a foreign bag as NAME=TOPIC, such as rgb=/camera/color/image_raw; `uma inspect BAG` lists candidates"
"""Description of the option ``--topic``."""
OF_BAG = "namespace of the graph in the bag; / is the root; empty: the only one"
"""Description of the option ``--namespace`` of a command that reads a bag."""
MAGIC = b"\x89MCAP0\r\n"
"""First and last bytes of an MCAP file."""
SQLITE = b"SQLite format 3\0"
ZSTD = b"\x28\xb5\x2f\xfd"
"""First bytes of data compressed by zstd."""
STORED = {MAGIC: "mcap", SQLITE: "db3", ZSTD: "zstd"}
SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".mcap.zst", ".db3.zstd", ".db3.zst")
"""Ends of the names of a bag's files."""
UNPACK = "an archive; unpack it first"
OTHERS = (
    (0, b"#ROSBAG V", "a ROS 1 bag; `rosbags-convert --src FILE --dst FOLDER` makes a ROS 2 bag of it"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file; `git lfs pull` gets it"),
    (0, b"/annex/objects/", "a git-annex pointer, not the file; `git annex get` gets it"),
    (0, b"<!DOCTYPE", "a web page; the download went wrong"),
    (0, b"<html", "a web page; the download went wrong"),
    (0, b"<?xml", "an XML text; the download went wrong"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as DROID's trajectory.h5, not a bag"),
    (0, b"PK\x03\x04", UNPACK),
    (0, b"\x1f\x8b", UNPACK),
    (0, b"BZh", UNPACK),
    (0, b"\xfd7zXZ", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", UNPACK),
    (257, b"ustar", UNPACK),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4; `lz4 -d FILE` unpacks it"),
)
"""(offset, bytes, what the file is) of files that people take for bags."""


def is_bag(path: Path) -> bool:
    """Return whether the path is meant as a bag: a folder of its files, or a file of its name or content."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or bool(_stored(path) or list(path.glob("*.bag")))
    if path.name.endswith((*SUFFIXES, ".bag")):
        return True
    return path.is_file() and _head(path).startswith((*STORED, b"#ROSBAG V"))


def files_of(path: str | Path) -> list[Path]:
    """Return the files of a bag, by metadata.yaml or by their numbers. The caller orders them by time.

    Raises:
        InputError: there is no such bag, a file is missing, or the folder has several bags.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"bag {path}: no such file or folder")
    if path.name == "metadata.yaml":
        path = path.parent
    if not path.is_dir():
        return [path]
    listed, there = _listed(path), _stored(path)
    if listed is None:
        if not there:
            raise InputError(f"bag {path}: no metadata.yaml, no MCAP file and no .db3 file{_instead(path)}")
        names = sorted({_stem(file) for file in there})
        if len(names) > 1:
            raise InputError(f"bag {path}: no metadata.yaml, and files of {len(names)} bags: {', '.join(names[:10])}")
        return there
    found = [next((f for f in there if _plain(f) == _plain(path / name)), path / name) for name in listed]
    missing = [file.name for file in found if not file.exists()]
    if len(missing) == len(found) == len(there):
        return there  # the files were renamed
    if missing:
        raise InputError(f"bag {path}: metadata.yaml lists {', '.join(missing[:10])}, which the folder lacks")
    return found


def _listed(folder: Path) -> list[str] | None:
    """Return the names of the files in metadata.yaml; None without it, or if it is empty as after a power cut."""
    about = folder / "metadata.yaml"
    if not about.exists() or not about.stat().st_size:
        return None
    check_kind(about, _head(about))
    what = f"bag {folder}: metadata.yaml"
    try:
        data = parse_yaml(about.read_text("utf-8"), what)
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: {error}") from None
    about_bag = data.get("rosbag2_bagfile_information") if isinstance(data, dict) else None
    names = about_bag.get("relative_file_paths") if isinstance(about_bag, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{what}: rosbag2_bagfile_information.relative_file_paths: must be a list of file names")
    return [Path(name).name for name in names]  # before version 4 with the folder


def _stored(folder: Path) -> list[Path]:
    """Return the storage files in a folder by their numbers, each once: 2 precedes 10, plain precedes compressed."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir(), key=lambda f: (len(f.name), f.name), reverse=True):
        if file.is_file() and file.name.endswith(SUFFIXES):
            found[_plain(file)] = file
    return sorted(found.values(), key=lambda file: [int(n) for n in re.findall(r"\d+", _plain(file))])


def _plain(file: Path) -> str:
    """Return the name without the suffix of a compression."""
    return file.name.removesuffix(".zstd").removesuffix(".zst")


def _stem(file: Path) -> str:
    """Return the name that all files of one bag share: without number and suffix."""
    return re.sub(r"_\d+$", "", _plain(file).rsplit(".", 1)[0])


def _instead(folder: Path) -> str:
    """Return a hint at ROS 1 bags in a folder, or at bags in the folders below."""
    if bags := sorted(folder.glob("*.bag")):
        return f"; {bags[0].name} is {OTHERS[0][2]}"
    below = [sub.name for sub in sorted(folder.iterdir()) if sub.is_dir() and is_bag(sub)]
    return f"; below it: {', '.join(below[:5])}" if below else ""


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def kind_of(file: Path, name: str) -> str:
    """Return mcap, db3 or zstd by the file's first bytes.

    Raises:
        InputError: another file, named as what it is. The message starts with ``name``.
    """
    head = _head(file)
    for magic, kind in STORED.items():
        if head.startswith(magic):
            return kind
    try:
        check_kind(file, head)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    what = "0 bytes" if not head else f"begins with {head[:8]!r}"
    raise InputError(f"{name}: {file.name}: {what}, must be an MCAP or SQLite file")


def check_kind(file: Path, head: bytes) -> None:
    """Raise `InputError` if the file is one of `OTHERS`."""
    for offset, magic, what in OTHERS:
        if head[offset:].startswith(magic):
            raise InputError(f"{file.name}: {what}")
