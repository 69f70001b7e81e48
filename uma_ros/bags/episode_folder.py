"""A folder of demonstrations: one bag an episode, each with its outcome in episode.json.

FOLDER/episode_0007/             the bag, with first.png and last.png of the colour image
FOLDER/episode_0007/episode.json number, outcome, text, begin_ns, end_ns, messages
FOLDER/discarded/episode_0006/   moved there; nothing is deleted, and no number is used again
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from uma.types import InputError
from uma_ros.runtime.textfile import parse_yaml

RECORDING, SUCCESS, FAILURE, UNMARKED = "recording", "success", "failure", "unmarked"
OUTCOMES = (SUCCESS, FAILURE, UNMARKED)
ABOUT = "episode.json"
DISCARDED = "discarded"
NAME = re.compile(r"episode_(\d{4,})")


@dataclass(frozen=True)
class About:
    """Contents of episode.json.

    Attributes:
        episode: number, from 1.
        outcome: success, failure, or unmarked; "recording" until its end, so also after the recorder's death.
        text: the instruction of the task; empty = none.
        begin_ns, end_ns: on the ROS clock.
        messages: number of messages in the bag.
    """

    episode: int
    outcome: str = RECORDING
    text: str = ""
    begin_ns: int = 0
    end_ns: int = 0
    messages: int = 0


class EpisodeFolder:
    """
    Raises:
        InputError: the path is not a folder, or cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"demonstrations: {path}: {error.strerror}, must be a folder or a new one") from None

    def episodes(self) -> list[Path]:
        """Return the episodes that are not discarded, by number."""
        return _numbered(self.path)

    def new(self) -> tuple[int, Path]:
        """Return the next number and its folder, which does not exist yet."""
        used = [number_of(p) for p in (*self.episodes(), *_numbered(self.path / DISCARDED))]
        number = max(used, default=0) + 1
        return number, self.path / f"episode_{number:04d}"

    def discard_last(self) -> tuple[int, About]:
        """Move the last episode to the folder of the discarded ones.

        Raises:
            InputError: there is none.
        """
        there = self.episodes()
        if not there:
            raise InputError(f"discard_last: no episode in {self.path}, must have at least one")
        last, out = there[-1], self.path / DISCARDED
        about = read_about(last)
        out.mkdir(exist_ok=True)
        os.replace(last, out / last.name)
        return number_of(last), about or About(number_of(last), UNMARKED)

    def counts(self) -> dict[str, int]:
        """Return the number of episodes by outcome, and of the discarded ones. A running one does not count."""
        found = Counter(_outcome(path) for path in self.episodes())
        return {**{name: found[name] for name in OUTCOMES}, DISCARDED: len(_numbered(self.path / DISCARDED))}


def _outcome(path: Path) -> str:
    about = read_about(path)
    return UNMARKED if about is None or about.outcome == RECORDING else about.outcome


def _numbered(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("episode_*") if p.is_dir() and NAME.fullmatch(p.name)]
    return sorted(found, key=number_of)


def number_of(path: Path) -> int:
    """Return the number of an episode's folder; 0 if its name has none."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def write_about(folder: Path, about: About) -> None:
    """Write episode.json through a temporary file and a rename."""
    part = folder / f"{ABOUT}.part"
    part.write_text(json.dumps(asdict(about), indent=2, ensure_ascii=False) + "\n")
    os.replace(part, folder / ABOUT)


def read_about(folder: Path) -> About | None:
    """Return the contents of episode.json; None without one.

    Raises:
        InputError: it is damaged. The message names the file.
    """
    path = folder / ABOUT
    if not path.is_file():
        return None
    values = parse_yaml(path.read_text(errors="replace"), str(path))
    kinds = {"episode": int, "outcome": str, "text": str, "begin_ns": int, "end_ns": int, "messages": int}
    if not isinstance(values, dict) or set(values) != set(kinds):
        raise InputError(f"{path}: must be a mapping with {', '.join(kinds)}")
    for name, kind in kinds.items():
        if type(values[name]) is not kind:
            raise InputError(f"{path}: {name}: {values[name]!r:.80}, must be of type {kind.__name__}")
    if values["outcome"] not in (*OUTCOMES, RECORDING):
        raise InputError(f"{path}: outcome: {values['outcome']!r:.80}, must be one of {', '.join(OUTCOMES)}")
    return About(**values)
