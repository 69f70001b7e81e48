"""The inference modes as a table: each row states the target tokens and the given tokens (paper Eq. 1, 3.4, D)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from uma.model.masks import MaskPattern, pattern

TASK_SOURCES = ("reference", "instruction", "goal", "prompt")
"""Sources of a task: Eq. 3, D.1, D.2 and Eq. 7."""


@dataclass(frozen=True)
class Mode:
    """One inference mode. The current action token, the measured end effector, is given in every mode.

    Attributes:
        is_target_action, is_target_motion: whether actions and motion are predicted; otherwise they are given.
        has_motion: whether there are motion tokens.
        gives_keypoints: whether the keypoints' known current and past positions are given (x_Gx of Eq. 6).
        gives_prefix: whether leading actions of the chunk are given.
        gives_history: whether the h past steps are given.
        task: source of the task, one of `TASK_SOURCES`.
    """

    is_target_action: bool = True
    is_target_motion: bool = False
    has_motion: bool = False
    gives_keypoints: bool = False
    gives_prefix: bool = False
    gives_history: bool = False
    task: str = "reference"

    def giving(self, *, keypoints: bool = False, prefix: bool = False, history: bool = False) -> Mode:
        """Return the mode with more given tokens, such as joint with a prefix, or dynamics with keypoints."""
        return replace(
            self,
            gives_keypoints=self.gives_keypoints or (keypoints and self.has_motion),
            gives_prefix=self.gives_prefix or (prefix and self.is_target_action),
            gives_history=self.gives_history or history,
        )

    def pattern(
        self,
        batch: int,
        steps: int,
        keypoints: int,
        *,
        prefix: int = 0,
        history: int = 0,
        is_known: Tensor | None = None,
    ) -> MaskPattern:
        """Return the mode's mask, see `uma.model.masks.pattern`; without motion tokens, ``keypoints`` counts as 0.

        Raises:
            ValueError: ``prefix`` or ``history`` is above 0 in a mode without it.
        """
        for name, count, is_given in (("prefix", prefix, self.gives_prefix), ("history", history, self.gives_history)):
            if count and not is_given:
                raise ValueError(f"{name}: {count}, must be 0 in a mode without it")
        return pattern(
            batch,
            steps,
            keypoints if self.has_motion else 0,
            action_target=self.is_target_action,
            motion_target=self.is_target_motion,
            prefix=prefix,
            history=history,
            tracked=self.gives_keypoints,
            is_known=is_known if self.has_motion else None,
        )


MODES = {
    "control": Mode(),
    "joint": Mode(is_target_motion=True, has_motion=True),
    "dynamics": Mode(is_target_action=False, is_target_motion=True, has_motion=True),
    "inverse": Mode(has_motion=True),
    "prefix": Mode(gives_prefix=True),
    "history": Mode(gives_history=True),
    "instruction": Mode(task="instruction"),
    "goal": Mode(task="goal"),
    "prompt": Mode(task="prompt"),
}
"""The paper's modes; `Mode.giving` combines them."""
