"""SAM 3 as the segmentation stage: masks of what a word names, by transformers from a local folder.

The image is prepared here, because the processor of transformers needs torchvision. Prompts by text do not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import InputError
from uma_train.curation.clip import Clip
from uma_train.curation.segment import LEAST_PX, most_changed
from uma_train.data.optional import needed
from uma_train.data.sources.parts import key_of

FILES = "config.json", "model.safetensors", "tokenizer.json"
KINDS = "sam3", "sam3_video"
SCORE, MASK = 0.3, 0.5
"""Least score of an instance, and of a pixel in its mask; the limits of the model's own processing."""
PAD = "<|endoftext|>"


def is_checkpoint(folder: str) -> bool:
    """Return whether a folder holds a model rather than results."""
    return (Path(folder) / FILES[0]).is_file()


@dataclass(frozen=True)
class Sam3:
    """The segmentation stage by SAM 3.

    Attributes:
        folder: local folder in the form of facebook/sam3 on the hub: `FILES`.
        thing: what to look for, a short noun phrase such as "spoon".
    """

    folder: str
    thing: str

    def __post_init__(self) -> None:
        if not self.thing.strip():
            raise InputError("thing: empty, must name what SAM 3 looks for, such as spoon")
        for name in FILES:
            if not (Path(self.folder) / name).is_file():
                raise InputError(f"masks: {self.folder} lacks {name}; must be a local folder of SAM 3")
        kind = json.loads((Path(self.folder) / FILES[0]).read_text()).get("model_type")
        if kind not in KINDS:
            raise InputError(f"masks: {self.folder}/config.json has model_type {kind!r}, must be {' or '.join(KINDS)}")

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"sam3-{key_of(Path(self.folder))}-{self.thing}"

    def __call__(self, clip: Clip) -> np.ndarray:
        """Return the thing's pixels in the first image, ``(H, W)`` bool; of several, those that change most.

        Raises:
            InputError: nothing was found, or a library or a weight is missing.
        """
        masks, scores = self.instances(clip.video[0])
        large = [m for m in masks if m.sum() >= LEAST_PX * m.size / (640 * 360)]
        if not large:
            best = max(scores, default=0.0)
            raise InputError(f"{clip.name}: {self.thing!r}: {best:.2f} is the best score, must be over {SCORE:g}")
        return large[0] if len(large) == 1 else most_changed(clip, large)

    def instances(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the masks ``(n, H, W)`` bool of the instances in an image ``(H, W, 3)``, and the scores of all
        candidates."""
        import torch

        model, tokenizer = self._loaded
        device = next(model.parameters()).device
        side = model.config.vision_config.image_size
        h, w = (side, side) if isinstance(side, int) else side
        x = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
        x = torch.nn.functional.interpolate(x, (h, w), mode="bilinear", align_corners=False, antialias=True)
        text = tokenizer.encode(self.thing.strip().lower())
        ids, valid = (torch.tensor([v], device=device) for v in (text.ids, text.attention_mask))
        with torch.inference_mode():
            out = model(pixel_values=x * 2 - 1, input_ids=ids, attention_mask=valid)
            scores = out.pred_logits.sigmoid()[0] * out.presence_logits.sigmoid()[0]
            masks = out.pred_masks.sigmoid()[0][scores > SCORE][:, None]
            size = image.shape[:2]
            large = [torch.nn.functional.interpolate(m[None], size, mode="bilinear")[0, 0] > MASK for m in masks]
        found = np.array([m.cpu().numpy() for m in large], bool).reshape(-1, *size)
        return found, scores.cpu().numpy()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        torch = needed("torch")
        needed("transformers", "siglip2")
        tokenizer = needed("tokenizers", "siglip2").Tokenizer.from_file(str(Path(self.folder) / "tokenizer.json"))
        kind = needed("transformers.models.sam3.modeling_sam3", "siglip2").Sam3Model
        try:
            model, info = kind.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except ImportError as error:  # torchvision, in versions of transformers that ask for it
            raise InputError(f"masks: SAM 3: {error}; give its masks as files instead") from error
        except Exception as error:  # safetensors and transformers raise their own kinds on a damaged file
            raise InputError(f"masks: {self.folder}: {error}") from error
        if lacking := [*info["missing_keys"], *(str(k) for k in info["mismatched_keys"])]:
            raise InputError(
                f"masks: {self.folder}/model.safetensors: {len(lacking)} weights absent, such as {lacking[0]}"
            )
        length = model.config.text_config.max_position_embeddings
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(PAD) or 0, pad_token=PAD)
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
