"""Formats and options of `uma import`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

from uma.model.config import PRESETS
from uma.settings import setting
from uma_train.data.sources.gates import Gates
from uma_train.data.sources.human.licence import NON_COMMERCIAL
from uma_train.jobs.options import JobOptions

READERS = {
    "bag": "uma_ros.offline.demonstration",
    "droid": "uma_train.data.sources.droid",
    "rlds": "uma_train.data.sources.rlds",
    "lerobot": "uma_train.data.sources.lerobot",
    "hoi4d": "uma_train.data.sources.hoi4d",
    "dexycb": "uma_train.data.sources.dexycb",
    "xperience": "uma_train.data.sources.xperience",
}
"""Format -> module with `recordings(source)`, ``{name: path or Part}``, and `read(found, options)`, a `Demonstration`.

A module's ``SAME`` names further options that must be equal for all episodes of a folder.

A module's ``SET_LICENCE`` is the licence of all its recordings.

A reader of ROS messages is part of `uma_ros`, which this package does not import. So it is looked up by name, as the
command `uma` looks up its functions.
"""
SAME = ("format", "preset", "outcome", "actions", "gates")
"""Settings that must be equal for all episodes of a folder."""

READ = ("text", "topic", "namespace", "calibration", "camera", "depth", "annotations", "mapping", "checksums")
"""Options of the reading: with others, or with another accepted licence, recordings are imported again."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions(JobOptions, Gates):
    """Make training episodes of recordings. The same command resumes and takes new ones."""

    format: str = setting(MISSING, "format of the recordings", choices=tuple(READERS))
    source: str = setting(MISSING, "a recording, or a folder of them")
    out: str = setting("data/demonstrations", "folder of the episodes")
    outcome: str = setting(
        "success",
        "recordings to take: success, or all; those that do not say count as success",
        choices=("success", "all"),
    )
    actions: str = setting(
        "auto",
        "the actions: commanded targets, measured poses one period later, or auto = commanded where recorded",
        choices=("auto", "commanded", "measured"),
    )
    text: str = setting("", "instruction of recordings without one")
    preset: str = setting("small", "model preset that determines the stored point counts", choices=tuple(PRESETS))
    topic: tuple[str, ...] = setting(
        (), "bag: topics of a foreign bag as NAME=TOPIC; `uma inspect BAG` lists candidates"
    )
    namespace: str = setting("", "bag: namespace of the graph in the bag; empty: the only one")
    calibration: str = setting("", "bag: calibration file of the camera; empty: as in the bag")
    camera: str = setting(
        "", "bag: key of the camera in that file; robot data sets: ext1, ext2 or a serial; empty: the first"
    )
    depth: str = setting(
        "", "robot data sets: folder with files NAME_depth.h5; stereo = matched from the stereo video (droid)"
    )
    annotations: str = setting(
        "", "robot data sets: folder with published calibrations, intrinsics and texts of DROID as JSON"
    )
    mapping: str = setting("", "lerobot: JSON file {episode index: DROID's name of the episode}")
    checksums: bool = setting(False, "rlds: check the checksum of every record, not of its length alone; slow")
    accept_licence: str = setting(
        "", "licences that you accept; NC = data for non-commercial use", choices=("", NON_COMMERCIAL)
    )

    workers: int = setting(1, "processes, or actors of ray", 1, 4096)

    @property
    def gates(self) -> Gates:
        return Gates(**{f.name: getattr(self, f.name) for f in fields(Gates)})
