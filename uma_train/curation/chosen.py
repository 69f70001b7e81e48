"""The chain that the options of `uma curate` choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from uma.types import InputError
from uma_train.curation.adapters.cameras import CameraFiles, ScaleFiles
from uma_train.curation.adapters.hand_models import FILES
from uma_train.curation.adapters.hands import HandDetector, HandFiles
from uma_train.curation.adapters.licences import accept
from uma_train.curation.adapters.masks import MaskFiles
from uma_train.curation.adapters.sam3 import Sam3, is_checkpoint
from uma_train.curation.adapters.track_files import TrackFiles
from uma_train.curation.chain import Chain
from uma_train.curation.keypoints import Spread
from uma_train.curation.options import CurateOptions
from uma_train.curation.tracks import Embedded


def chain_of(options: CurateOptions, console: Console) -> Chain:
    """Return the chain of the options; prints the licence of every model whose weights or results are taken.

    Raises:
        InputError: a folder is absent, results without their model, or a licence that is not accepted.
    """
    o = options
    for name, folder in o.results.items():
        if not Path(folder).is_dir():
            raise InputError(f"{name}: {folder}, must be a folder")
    if (o.depth or o.tracks) and not o.model:
        raise InputError("model: required with --depth or --tracks, for the licence of the results")
    for model in o.models:
        console.print(accept(model, o), highlight=False)
    stages: dict[str, Any] = {"queries": Spread(o.keypoints, o.elsewhere), "tracks": Embedded(o.tracker)}
    if o.depth:
        stages |= {"camera": CameraFiles(o.depth, o.model), "scale": ScaleFiles(o.depth, o.model)}
    if o.tracks:
        stages["tracks"] = TrackFiles(o.tracks, o.model)
    if o.masks:
        stages["mask"] = Sam3(o.masks, o.thing) if is_checkpoint(o.masks) else MaskFiles(o.masks, o.mask_model)
    if o.hands:
        is_models = any((Path(o.hands) / file).is_file() for file in FILES)
        stages["hands"] = HandDetector(o.hands) if is_models else HandFiles(o.hands, o.hand_model)
    return Chain(**stages)
