"""The architecture of a model: frozen dataclasses with every choice, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from uma.settings import within
from uma.types import HORIZON, MAX_KEYPOINTS

FLOW_METHODS = ("euler", "heun")
"""Integration methods of the flow: one ("euler") or two ("heun") model evaluations per step."""


@dataclass(frozen=True)
class PointConfig:
    """Sampling of points from an RGB-D image (paper 3.2, B; the paper gives no counts).

    The table is removed, and the rest is drawn in three strata: ``near`` the gripper, ``low`` above the table, and
    ``rest``. So a thin utensil keeps enough points beside the much larger arm.

    Attributes:
        near, low, rest: points per stratum; a short stratum repeats its points.
        near_m: radius of the near stratum around the end effector, metres.
        low_m: height of the low stratum above the table, metres.
        table_m: points below this height above the table's plane are dropped, metres.
        range_m: points farther from the camera are dropped, metres.
        height_m: points above this height are dropped unless they are near the gripper, metres. Most of them lie on the
            arm's own links.
    """

    near: int = 192
    low: int = 320
    rest: int = 128
    near_m: float = 0.13
    low_m: float = 0.035
    table_m: float = 0.007
    range_m: float = 1.8
    height_m: float = 0.35

    def __post_init__(self) -> None:
        within(
            self,
            dict.fromkeys(("near", "low", "rest"), (1, 65536))
            | dict.fromkeys(("near_m", "low_m", "table_m", "range_m", "height_m"), (0.0, 100.0)),
        )

    @property
    def total(self) -> int:
        return self.near + self.low + self.rest


@dataclass(frozen=True)
class ImageConfig:
    """Image features at the points (paper 3.2: point positions concatenated with SigLIP 2 features).

    Attributes:
        kind: "none" (colour alone), "small" (a convolutional network, trained end to end) or "siglip2" (frozen, from
            ``path``).
        height, width: image size of the encoder, pixels.
        features: feature width per point; for "siglip2" after a learned projection.
        path: local folder of the SigLIP 2 weights in transformers' format; they are not part of the bundle.
        sha256: of those weights; other weights are refused. Empty = not checked.
    """

    kind: str = "none"
    height: int = 96
    width: int = 160
    features: int = 32
    path: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        within(self, {"height": (1, 4096), "width": (1, 4096), "features": (1, 4096)})
        if self.kind not in ("none", "small", "siglip2"):
            raise ValueError(f"image.kind '{self.kind}': must be 'none', 'small' or 'siglip2'")
        if self.kind == "siglip2" and not self.path:
            raise ValueError("image.path: empty, must be the folder of the SigLIP 2 weights")


@dataclass(frozen=True)
class LanguageConfig:
    """The language encoder h_omega (paper D.1).

    Attributes:
        kind: "none", "words" (a trained table of hashed words, no download) or "siglip2" (frozen text tower from
            ``path``).
        layers: N_l; each has self-attention among the text tokens and cross-attention of the M aggregation queries.
        max_tokens: longer texts are truncated (paper: 64).
        embedding: width of the text embeddings (SigLIP 2: 768).
        path, sha256: as in `ImageConfig`.
        scene: whether the tokens of a text also depend on the initial scene (see `uma.model.grounding`); needs
            ``ways``. Not in the paper.
    """

    kind: str = "none"
    layers: int = 2
    max_tokens: int = 64
    embedding: int = 768
    path: str = ""
    sha256: str = ""
    scene: bool = False

    def __post_init__(self) -> None:
        within(self, {"layers": (0, 64), "max_tokens": (1, 4096), "embedding": (1, 4096)})
        if self.kind not in ("none", "words", "siglip2"):
            raise ValueError(f"language.kind '{self.kind}': must be 'none', 'words' or 'siglip2'")
        if self.kind == "siglip2" and not self.path:
            raise ValueError("language.path: empty, must be the folder of the SigLIP 2 weights")
        if self.scene and self.kind == "none":
            raise ValueError("language.scene: on, needs a language.kind")


@dataclass(frozen=True)
class ModelConfig:
    """UMA's architecture.

    Attributes:
        width, heads, layers, ffn_ratio: of the transformer (paper A.3: 768, 12, 6; feed-forward ratio not given).
        block_order: sub-layers of one block in order, each with its own dual modulation. The default is spatial,
            temporal, context and one feed-forward; for other interpretations of the paper's "alternating" see
            `block_layout`. "dense" is an ablation: one attention over all motion, action and context tokens (paper
            4.5).
        separate_layers: number of last layers with separate weights for action and motion tokens, without attention
            between them: the ablation "separate heads" (paper 4.5). 0 = one trunk up to the two linear heads.
        horizon: H, actions and motion steps (paper A.3). The token grid has H + 1 steps; step 0 is the current one.
        max_keypoints: K (paper A.3).
        keypoint_identity: embedding of a motion token's keypoint. "position" uses the keypoint's position in the
            initial image, "index" a learned vector per index (as in the paper), "both" uses both.
        task_tokens: M (not given in the paper).
        groups: points per PointNet++ level; the last value is the number of observation tokens.
        group_size: neighbours per group.
        group_widths: feature width of each level except the last, which has ``width``.
        task_layers: cross-attention layers of the task encoder.
        proprioception: whether the measured end-effector state is a context token, and the points get coordinates
            relative to the end effector.
        orientation: whether the waypoints and the end-effector token get explicit rotation features (see
            `uma.model.orientation`). Not in the paper.
        heights: whether the waypoints and the end-effector token get explicit heights above the table (see
            `uma.model.heights`). Not in the paper.
        places: whether the waypoints and the end-effector token get explicit position features (see
            `uma.model.places`). Not in the paper.
        waypoints: whether each task token also gets the reference motion at a phase of its own (see
            `uma.model.waypoints`). Not in the paper.
        ways: whether each task token also states the reference's place at its phase, and the context gets the ways
            there from the end effector (see `uma.model.ways`). Not in the paper.
        lines: whether each task token also states the direction of the keypoints at its phase, and the context gets it
            in the end-effector frame (see `uma.model.lines`). Not in the paper.
        follow: whether each task token also states the rotation of the keypoints at its phase, and the action tokens
            get the motion of the hand that takes a held object along the reference (see `uma.model.follow`); needs
            ``ways``. Not in the paper.
        carry: whether the motion tokens get the positions of keypoints that move with the closed hand, or rest (see
            `uma.model.carry`). Not in the paper.
        context_layers: self-attention layers among the context tokens (see `uma.model.context`).
        flow_time: distribution of the flow time in training: "uniform" or "beta" (more weight on noise).
        history: number of past steps with measured poses and tracked points (paper Eq. 5: "recent history"); 0 = none.
        points: sampling of points from images.
        image: image features at the points.
        language: the language encoder.
    """

    width: int = 768
    heads: int = 12
    layers: int = 6
    ffn_ratio: int = 4
    block_order: tuple[str, ...] = ("spatial", "temporal", "context", "ffn")
    separate_layers: int = 0
    horizon: int = HORIZON
    max_keypoints: int = MAX_KEYPOINTS
    keypoint_identity: str = "position"
    task_tokens: int = 8
    groups: tuple[int, ...] = (512, 128)
    group_size: int = 16
    group_widths: tuple[int, ...] = (256,)
    task_layers: int = 2
    proprioception: bool = True
    orientation: bool = False
    heights: bool = False
    places: bool = False
    waypoints: bool = False
    ways: bool = False
    lines: bool = False
    follow: bool = False
    carry: bool = False
    context_layers: int = 0
    flow_time: str = "uniform"
    history: int = 0
    points: PointConfig = PointConfig()
    image: ImageConfig = ImageConfig()
    language: LanguageConfig = LanguageConfig()

    LIMITS = {
        "width": (1, 16384),
        "heads": (1, 256),
        "layers": (1, 256),
        "ffn_ratio": (1, 16),
        "horizon": (1, 1024),
        "max_keypoints": (1, 1024),
        "task_tokens": (1, 1024),
        "groups": (1, 65536),
        "group_size": (1, 1024),
        "group_widths": (1, 4096),
        "task_layers": (0, 64),
        "context_layers": (0, 64),
    }
    """Generous bounds; they protect the loader against absurd sizes."""

    def __post_init__(self) -> None:
        within(self, self.LIMITS)
        if not 1 <= len(self.groups) <= 8 or not 1 <= len(self.block_order) <= 32:
            raise ValueError(
                f"groups and block_order: {len(self.groups)} and {len(self.block_order)} entries, must be 1 "
                "to 8 and 1 to 32"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width}: must be a multiple of heads {self.heads}")
        if (self.ways or self.lines or self.carry) and not self.proprioception:
            raise ValueError("ways, lines, carry: on, need proprioception")
        for name, wants in (("follow", self.follow), ("language.scene", self.language.scene)):
            if wants and not self.ways:
                raise ValueError(f"{name}: on, needs ways")
        if len(self.group_widths) != len(self.groups) - 1:
            raise ValueError(
                f"group_widths has {len(self.group_widths)} entries for {len(self.groups)} levels, must have one fewer"
            )
        known = {"spatial", "temporal", "context", "dense", "ffn"}
        if not set(self.block_order) <= known:
            raise ValueError(f"block_order {self.block_order}: each must be one of {sorted(known)}")
        if not 0 <= self.separate_layers <= self.layers:
            raise ValueError(f"separate_layers {self.separate_layers}: must be 0 to layers, {self.layers}")
        if self.keypoint_identity not in ("position", "index", "both"):
            raise ValueError(f"keypoint_identity '{self.keypoint_identity}': must be 'position', 'index' or 'both'")
        if not 0 <= self.history <= self.horizon:
            raise ValueError(f"history {self.history}: must be 0 to the horizon, {self.horizon}")
        if self.groups[0] > self.points.total:
            raise ValueError(f"groups[0] = {self.groups[0]}: must be at most the {self.points.total} points")
        if self.flow_time not in ("uniform", "beta"):
            raise ValueError(f"flow_time '{self.flow_time}': must be 'uniform' or 'beta'")

    @property
    def task_width(self) -> int:
        """Width of a task token: ``width``, and the channels for its place, its line and its products."""
        return self.width + sum(self.stated)

    @property
    def stated(self) -> tuple[int, int, int]:
        """Channels of a task token for its place (``ways``), line (``lines``) and products (``follow``)."""
        return 3 * self.ways, 6 * self.lines, 9 * self.follow


def tiny() -> ModelConfig:
    """A preset for tests: runs in milliseconds, learns little."""
    return ModelConfig(
        width=32,
        heads=2,
        layers=2,
        task_tokens=4,
        groups=(24, 12),
        group_size=4,
        group_widths=(16,),
        task_layers=1,
        points=PointConfig(near=24, low=24, rest=16),
    )


def small() -> ModelConfig:
    """A preset for two CPU cores, in training and at 15 Hz."""
    return ModelConfig(
        width=128, heads=4, layers=4, task_tokens=8, groups=(128, 64), group_size=8, group_widths=(64,), task_layers=2
    )


def base() -> ModelConfig:
    """The paper's transformer: 6 layers, width 768, 12 heads."""
    return ModelConfig(points=PointConfig(near=1024, low=2048, rest=1024))


def paper_150m() -> ModelConfig:
    """A preset with about 150 M trained parameters: the smallest of the paper's scaling analysis (E, Fig. 11).

    The paper gives no widths; here the three scales differ in width only. Frozen SigLIP 2 towers are not counted.
    """
    return replace(base(), width=704, heads=11)


def paper_300m() -> ModelConfig:
    """A preset with about 300 M trained parameters (320 M, because the heads have width 64); see `paper_150m`."""
    return replace(base(), width=1024, heads=16)


def paper_600m() -> ModelConfig:
    """A preset with about 600 M trained parameters; see `paper_150m`."""
    return replace(base(), width=1408, heads=22)


PRESETS = {
    "tiny": tiny,
    "small": small,
    "base": base,
    "paper_150m": paper_150m,
    "paper_300m": paper_300m,
    "paper_600m": paper_600m,
}


def block_layout(config: ModelConfig, name: str) -> ModelConfig:
    """Return ``config`` with one layout of "alternating among spatial, temporal and context attention" (paper A.3).

    * A: every layer has the three attentions and one feed-forward.
    * B: every layer is three full blocks, each an attention and a feed-forward.
    * C: every layer is one full block, and the three attentions alternate; ``layers`` is divided by 3.
    * dense: the ablation, with about as many parameters as A.
    """
    full = ("spatial", "ffn", "temporal", "ffn", "context", "ffn")
    if name == "A":
        return replace(config, block_order=("spatial", "temporal", "context", "ffn"))
    if name == "B":
        return replace(config, block_order=full)
    if name == "C":
        if config.layers % 3:
            raise ValueError(f"layers {config.layers}: must be a multiple of 3 for layout C")
        return replace(config, block_order=full, layers=config.layers // 3)
    if name == "dense":
        # Parameters in units of width^2. A: three attentions of 4, a feed-forward and 24 of modulation. Dense: one
        # attention of 6, a feed-forward and 12.
        ffn = 2 * config.ffn_ratio
        return replace(
            config, block_order=("dense", "ffn"), layers=round(config.layers * (12 + ffn + 24) / (6 + ffn + 12))
        )
    raise ValueError(f"layout '{name}': must be 'A', 'B', 'C' or 'dense'")
