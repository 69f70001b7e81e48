"""The typed configuration of a training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from uma.model.config import PRESETS, ImageConfig, LanguageConfig, ModelConfig, block_layout
from uma.settings import within
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.transforms import Transforms
from uma_train.training.choices import FlowChoice, MotusChoice, PixelChoice
from uma_train.training.objectives import Objective


@dataclass(frozen=True)
class ModelChoice:
    """Changes to the preset; see `uma.model.config.ModelConfig` for each field.

    Attributes:
        block_layout: A, B, C, or the ablation "dense", see `uma.model.config.block_layout`.
        separate_layers: of the ablation "separate heads".
        keypoint_identity, history, task_tokens: as there; ``task_tokens`` 0 = the preset's.
        orientation, heights, places, waypoints, ways, lines, follow, carry, context_layers: as there. A run can
            add them to the weights of a model without them (``init``), because their initial output is zero; only
            ``carry`` changes the predicted motion from the start.
        image: image features at the points.
        language: the language encoder. A run can add it to the weights of a model without one.
    """

    block_layout: Literal["A", "B", "C", "dense"] = "A"
    separate_layers: int = 0
    keypoint_identity: Literal["position", "index", "both"] = "position"
    history: int = 0
    task_tokens: int = 0
    orientation: bool = False
    heights: bool = False
    places: bool = False
    waypoints: bool = False
    ways: bool = False
    lines: bool = False
    follow: bool = False
    carry: bool = False
    context_layers: int = 0
    image: ImageConfig = ImageConfig()
    language: LanguageConfig = LanguageConfig()


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of one training run.

    Attributes:
        data: folders of episodes, each "folder" or "folder=weight"; the default is balanced (paper A.3).
        without: kinds of sources that are left out of training, and stay in validation: robot, human, sim (paper
            Fig. 3).
        out: folder of the run: training state, logs, and the bundle under ``bundle/``.
        system: what is trained: "uma", or one of the systems that it is compared with (`uma_train.baselines`).
        preset: architecture preset of `uma.model.config`.
        model: changes to the preset.
        pixels: choices of the systems that predict pixels, whose task encoder has the sizes of ``preset``.
        motus: further choices of the systems "motus" and "latent_actions".
        flow: choices of the system that predicts point flow, whose point encoder has the sizes of ``preset``.
        steps: optimiser steps.
        minutes: time limit of the run, including its learning-rate schedule; 0 = none. Such a run resumes, but not bit
            for bit.
        batch_size: windows per step.
        micro_batch: largest number of windows per gradient computation; a step accumulates batch_size / micro_batch of
            them over the processes. It bounds memory and is the pool of the contrastive term. The number of processes
            changes nothing else.
        windows_per_task: windows that share an initial observation, a reference and their encoding.
        optimizer: "adamw" as in the paper, or "muon" for hidden matrices with AdamW for the rest (see
            `uma_train.training.optimizer`).
        lr: peak learning rate. The paper's 1e-4 is for width 768; narrow models tolerate more.
        added_rate: factor on the learning rate of the parameters that ``init`` lacks.
        only: modules of UMA that are trained, such as "carry" or "grounding"; the others keep the weights of ``init``.
            Empty = all.
        warmup: steps of linear warm-up (paper: 10,000 of a far longer run), followed by a cosine decay to 0.
        weight_decay, clip_norm: paper A.3.
        ema: decay of the averaged weights, which are validated and exported.
        keypoints: motion tokens per step in batches with motion, 1 to 16.
        scale_by_step: normalise the actions at each step of a chunk by their own spread (`Normalization.step_scale`).
        first_is_initial: fraction of the tasks whose o_0 is the episode's first frame, as a person's sketch has it. The
            others start anywhere before the window, with references from the recorded motion.
        key_window_fraction: fraction of windows drawn among the rare key windows (see `uma_train.data.events`); 0 draws
            all windows uniformly.
        siblings: fraction of the tasks that are specified by another episode with the same instruction
            (`uma_train.data.windows.Windows`).
        vary_keypoints: draw 1 to ``keypoints`` real keypoints per sample and pad the rest (paper A.3: K in [1, 16]).
        seed: of weights, batches and noise.
        device: "auto" selects a GPU if available.
        threads: torch threads; 0 = torch's default.
        compile: compile the denoiser's blocks (`torch.compile`), which needs a C++ compiler and about two minutes. It
            saves a fifth of a step on CPUs.
        bf16: bfloat16 autocast on devices with native support; single precision elsewhere, because emulation is slow.
        sharding: for several processes, "replicate" the model, or "shard" parameters, gradients and optimiser state
            (FSDP2) for large presets.
        validation_episodes: number of last episodes of each source that are held out.
        validation_windows: windows drawn from them for the errors of every mode.
        validate_every, save_every, log_every: in steps.
        tensorboard: also log for TensorBoard, beside ``log.jsonl``.
        init: bundle with the initial weights, of the same system, or empty.
        policy_frame: the policy frame (`uma.model.frame`). "auto" is the frame of ``init``, or the camera's.
            "camera_nominal" is the frame of ``init``, or of the simulated station's nominal camera.
        sampling, transforms, objective: distribution of references, augmentation, and masks with loss weights.
    """

    data: tuple[str, ...] = ("data/insertion",)
    without: tuple[Literal["robot", "human", "sim"], ...] = ()
    out: str = "runs/train"
    system: Literal["uma", "coil", "tokeniser", "uva", "uwm", "latent_actions", "motus", "point_flow"] = "uma"
    preset: Literal["tiny", "small", "base", "paper_150m", "paper_300m", "paper_600m"] = "small"
    model: ModelChoice = ModelChoice()
    pixels: PixelChoice = PixelChoice()
    motus: MotusChoice = MotusChoice()
    flow: FlowChoice = FlowChoice()
    steps: int = 6000
    minutes: float = 0.0
    batch_size: int = 64
    micro_batch: int = 32
    windows_per_task: int = 2
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    added_rate: float = 1.0
    only: tuple[str, ...] = ()
    warmup: int = 200
    weight_decay: float = 1e-6
    clip_norm: float = 1.0
    ema: float = 0.998
    keypoints: int = 4
    scale_by_step: bool = False
    vary_keypoints: bool = False
    first_is_initial: float = 0.75
    key_window_fraction: float = 0.0
    siblings: float = 0.0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    compile: bool = False
    bf16: bool = True
    sharding: Literal["replicate", "shard"] = "replicate"
    validation_episodes: int = 24
    validation_windows: int = 128
    validate_every: int = 500
    save_every: int = 250
    log_every: int = 25
    tensorboard: bool = True
    init: str = ""
    policy_frame: Literal["auto", "camera", "camera_nominal", "table"] = "auto"
    sampling: ReferenceSampling = ReferenceSampling()
    transforms: Transforms = Transforms()
    objective: Objective = Objective()

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "micro_batch", "windows_per_task", "keypoints")
        periods = ("validate_every", "save_every", "log_every", "validation_episodes", "validation_windows")
        shares = ("first_is_initial", "key_window_fraction", "siblings")
        within(self, {name: (1, None) for name in counts + periods} | dict.fromkeys(shares, (0, 1)))
        if self.system not in ("uma", "coil") and self.sharding == "shard":
            raise ValueError(f"sharding: 'shard', must be 'replicate' for system {self.system!r}")
        if not 0 < self.added_rate <= 100:
            raise ValueError(f"added_rate: {self.added_rate}, must be above 0 and at most 100")
        if self.only and (self.system != "uma" or not self.init):
            raise ValueError(f"only: {', '.join(self.only)}, needs the system 'uma' and init")
        if not 0 < self.ema < 1:
            raise ValueError(f"ema: {self.ema}, must be above 0 and below 1")
        if self.windows_at_once % self.windows_per_task:
            raise ValueError(
                f"micro_batch {self.windows_at_once}: must be a multiple of windows_per_task, {self.windows_per_task}"
            )
        if self.batch_size % self.windows_at_once:
            raise ValueError(f"batch_size {self.batch_size}: must be a multiple of micro_batch, {self.micro_batch}")
        if self.keypoints > self.model_config().max_keypoints:
            raise ValueError(f"keypoints {self.keypoints}: must be at most {self.model_config().max_keypoints}")

    @property
    def windows_at_once(self) -> int:
        """Size of a micro-batch."""
        return min(self.micro_batch, self.batch_size)

    def model_config(self) -> ModelConfig:
        """Return the architecture: the preset with the changes of `model`."""
        m = self.model
        config = block_layout(PRESETS[self.preset](), m.block_layout)
        return replace(
            config,
            separate_layers=m.separate_layers,
            keypoint_identity=m.keypoint_identity,
            history=m.history,
            orientation=m.orientation,
            heights=m.heights,
            places=m.places,
            waypoints=m.waypoints,
            ways=m.ways,
            lines=m.lines,
            follow=m.follow,
            carry=m.carry,
            context_layers=m.context_layers,
            task_tokens=m.task_tokens or config.task_tokens,
            image=m.image,
            language=m.language,
        )
