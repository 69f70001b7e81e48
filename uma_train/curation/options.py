"""Options of `uma curate`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from uma.model.config import PRESETS
from uma.settings import setting
from uma_train.curation.adapters.licences import LICENCES
from uma_train.curation.tracks import KINDS
from uma_train.data.sources.human.licence import NON_COMMERCIAL

SIMULATION, INTERCHANGE = "simulation", "interchange"
FORMATS = (INTERCHANGE, "bag", "hoi4d", "dexycb", "xperience")
"""Of sources that hold depth."""


@dataclass(frozen=True, kw_only=True)
class CurateOptions:
    """Make metric 3D tracks of RGB-D video. The same command resumes and takes new clips."""

    source: str = setting(MISSING, "a folder of clips, a recording, or the word simulation")
    out: str = setting("data/curated", "folder of the results")
    format: str = setting(INTERCHANGE, f"of the source: {', '.join(FORMATS)}")
    task: str = setting("insertion", "simulation: its task")
    seeds: str = setting("0:4", "simulation: its scenes, first:end")
    keypoints: int = setting(32, "keypoints on the object", 4, 4096)
    elsewhere: int = setting(8, "keypoints in the rest of the scene", 0, 4096)
    tracker: str = setting("auto", "rigid thing, sheet, or chosen by shape and motion", choices=KINDS)
    depth: str = setting("", "folder of depth and camera results, NAME.npz a clip")
    tracks: str = setting("", "folder of track results, NAME.npz a clip, in place of the tracker")
    model: str = setting("", "the model that made these results, for its licence", choices=("", *LICENCES))
    masks: str = setting("", "folder of masks, NAME.npz or NAME/*.png a clip, or of a SAM 3 checkpoint")
    mask_model: str = setting("sam3", "the model that made the masks, for its licence", choices=tuple(LICENCES))
    thing: str = setting("", "what a SAM 3 checkpoint looks for, such as spoon")
    hands: str = setting("", "folder of joints of a person's hand, NAME.npz a clip, or of MediaPipe's hand models")
    hand_model: str = setting("mediapipe", "the model that made the joints, for its licence", choices=tuple(LICENCES))
    accept_licence: str = setting(
        "",
        "licences of the source and of models that you accept; NC = non-commercial use",
        choices=("", NON_COMMERCIAL),
    )
    episodes: bool = setting(False, "also write training episodes")
    preset: str = setting("small", "model preset that determines the episodes' point counts", choices=tuple(PRESETS))
    retry: bool = setting(False, "try refused clips again")

    @property
    def models(self) -> list[str]:
        """The models whose weights or results are taken."""
        taken = ((self.depth or self.tracks, self.model), (self.masks, self.mask_model), (self.hands, self.hand_model))
        return list(dict.fromkeys(model for folder, model in taken if folder))

    @property
    def results(self) -> dict[str, str]:
        """Option -> folder with a result a clip."""
        folders = {name: getattr(self, name) for name in ("depth", "tracks", "masks", "hands")}
        return {name: folder for name, folder in folders.items() if folder}
