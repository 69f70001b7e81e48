"""`uma export SOURCE --out FOLDER`: training episodes as a data set that other software reads."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from uma.settings import from_words, setting
from uma.types import InputError
from uma_train.data.episode import Episode, EpisodeError, list_episodes, load_episode
from uma_train.data.exports.columns import Layout, layout_of
from uma_train.data.exports.lerobot import Writer

PART = f".part-{socket.gethostname()}-"
"""Between the name of a data set that is being written and the number of its process."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write training episodes as a data set of another format."""

    source: str = setting(MISSING, "folder of episodes")
    out: str = setting("data/lerobot", "folder of the data set; must not exist")
    format: str = setting("lerobot", "format: LeRobot's version 3.0", choices=("lerobot",))
    per_file: int = setting(100, "episodes in one data file and one video", 1, 100_000)


def export(options: ExportOptions, console: Console | None = None) -> dict:
    """Write the data set, which appears whole under its name, or not at all.

    Returns:
        Counts: written and left out episodes, and frames.

    Raises:
        InputError: the folder exists, or no episode has actions.
    """
    console, out = console or Console(), Path(options.out)
    _check_new(out)
    try:
        paths = list_episodes(options.source)
        layout, chosen = _survey(paths)
    except EpisodeError as error:
        raise InputError(str(error)) from error
    _remove_left(out)
    part = out.with_name(f"{out.name}{PART}{os.getpid()}")
    columns = TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Writer(part, layout, options.per_file) as writer, Progress(*columns, console=console) as progress:
            for path in progress.track(chosen):
                writer.add(path.name, load_episode(path))
        _check_new(out)
        os.rename(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    left = len(paths) - len(chosen)
    video = "with" if layout.image else "without"
    console.print(f"{len(chosen)} episodes, {writer.frames} frames, {video} video in {out}", highlight=False)
    if left:
        console.print(f"{left} episodes without actions left out", highlight=False)
    return {"written": len(chosen), "left_out": left, "frames": writer.frames}


def _check_new(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(f"out: {out}: exists, must be a new folder")


def _remove_left(out: Path) -> None:
    """Remove the unfinished folders of exports to ``out`` that were killed on this machine."""
    for path in out.parent.glob(glob.escape(f"{out.name}{PART}") + "*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and not is_running(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def is_running(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _survey(paths: list[Path]) -> tuple[Layout, list[Path]]:
    """Return the layout that fits all episodes with actions, and their files."""
    layout, chosen = None, []
    for path in paths:
        episode: Episode = load_episode(path)
        if episode.meta["has_actions"]:
            chosen.append(path)
            layout = layout_of(episode, layout)
    if layout is None:
        raise InputError(f"source: 0 of {len(paths)} episodes have actions, must be at least 1")
    return layout, chosen


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    export(from_words(ExportOptions, sys.argv[1:] if argv is None else argv, "uma export"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
