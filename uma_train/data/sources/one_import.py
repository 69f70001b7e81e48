"""The import of one recording, in a worker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uma.model.config import PRESETS
from uma.types import InputError
from uma_train.data.episode import Episode, EpisodeError
from uma_train.data.sources.convert import to_episode
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.human.licence import check_licence
from uma_train.data.sources.import_options import ImportOptions
from uma_train.data.sources.parts import Part, place
from uma_train.jobs.receipts import Item
from uma_train.jobs.recorded import Output
from uma_train.jobs.schedule import tell_step

UNREADABLE = "unreadable"
"""The gate of a recording that cannot be read."""


@dataclass(frozen=True)
class OneImport:
    """A function of an item, for `uma_train.jobs`.

    Attributes:
        reader: its module, by name.
        found: an item's id -> its recording.
    """

    reader: str
    options: ImportOptions
    found: Mapping[str, Path | Part]

    def __call__(self, item: Item, state: Any) -> Output:
        """Return a recording as an episode, with notes for the card.

        Raises:
            InputError: it is unreadable, or does not pass a gate.
        """
        found = self.found[item["id"]]
        try:
            episode = self._episode(found)
        except InputError:
            raise
        except EpisodeError as error:
            raise InputError(str(error)) from error
        except (ValueError, TypeError, LookupError) as error:  # a malformed recording
            raise InputError(f"{place(found)}: {type(error).__name__}: {error}") from error
        meta = episode.meta
        notes = {name: meta[name] for name in ("text", "tracks", "gates", "licence")}
        actions = "{pose} pose, {gripper} gripper".format(**meta["actions"])
        return Output(episode, {"steps": len(episode.pose), "actions": actions, **notes})

    def _episode(self, found: Path | Part) -> Episode:
        options = self.options
        demonstration = importlib.import_module(self.reader).read(found, options)
        check_licence(demonstration.name, demonstration.licence, options)
        if options.outcome == "success" and demonstration.outcome not in ("success", ""):
            raise Refused("outcome", f"{demonstration.outcome}, must be success")
        steps = len(demonstration.stamps)

        def show(step: int) -> None:
            tell_step(f"step {step + 1} of {steps}")

        return to_episode(demonstration, PRESETS[options.preset]().points, options.gates, on_step=show)
