"""Rates, gates and limits between a chunk and the robot."""

from __future__ import annotations

from dataclasses import dataclass, field

from uma.control.gate import MODES
from uma.control.safety import SafetySettings
from uma.settings import setting

GRIPPER_ACTIONS = ("GripperCommand", "ParallelGripperCommand")
"""Actions of control_msgs for a gripper."""


@dataclass(frozen=True)
class ControllerSettings:
    """Everything that a controller can be set to, but for the names of its topics."""

    rate: float = setting(125.0, "Hz; targets sent to the robot", 20.0, 1000.0)
    autostart: bool = setting(False, "move as soon as there is a chunk; else only after /uma/start")
    dry_run: bool = setting(False, "do everything but send targets and gripper commands")
    base_frame: str = setting("fr3_link0", "base frame of the robot; chunks must be in it")
    robot_ee_frame: str = setting("fr3_link8", "the frame that the robot's Cartesian controller places")
    blend_s: float = setting(
        0.2, "s; time over which a new chunk takes over; with ensemble, gains its weight", 0.0, 2.0
    )
    ensemble: float = setting(
        0.0,
        "decay of the weight by chunk of age, where all chunks of a task that have an action now are averaged; "
        "0 = only the newest one counts",
        0.0,
        10.0,
    )
    max_chunk_age: float = setting(1.0, "s; a chunk from an older observation is refused", 0.05, 10.0, live=True)
    max_state_age: float = setting(
        0.3, "s; older robot state is refused, longer silence is a HOLD", 0.005, 10.0, live=True
    )
    hold_limit: float = setting(
        5.0, "s; after a HOLD this long a new start is needed (with autostart: a new chunk)", 0.1, 3600.0, live=True
    )
    gripper_close_above: float = setting(0.6, "0 to 1; the gripper closes when an action is above", 0.0, 1.0)
    gripper_open_below: float = setting(0.4, "0 to 1; the gripper opens when an action is below", 0.0, 1.0)
    gripper_effort: float = setting(40.0, "N; effort asked of the gripper", 0.0, 235.0, live=True)
    gripper_action: str = setting(
        "GripperCommand", "the action of control_msgs that the gripper's driver serves", choices=GRIPPER_ACTIONS
    )
    confirm: str = setting(
        "off",
        "what waits for /uma/confirm before it moves: nothing, every new task, or every chunk (a single step)",
        choices=MODES,
    )
    heartbeat_s: float = setting(
        0.0,
        "s; longest silence of a remote operator's heartbeat before the arm is held; 0 = none is asked for",
        0.0,
        60.0,
    )
    max_departure: float = setting(
        0.0, "m; the arm is held while the predicted motion leaves the reference's path by more; 0 = never", 0.0, 2.0
    )
    safety: SafetySettings = field(default_factory=SafetySettings)

    @property
    def period(self) -> float:
        """Seconds between two targets."""
        return 1.0 / self.rate

    @property
    def needs_task(self) -> bool:
        """Whether the task in force has a part in what the controller does."""
        return self.confirm != "off" or bool(self.max_departure or self.ensemble)

    @property
    def silence_limits(self) -> dict[str, float]:
        """Source -> longest silence, seconds. A calibration does not age."""
        limits = {"robot": self.max_state_age, "gripper": self.max_state_age, "calibration": float("inf")}
        return limits | ({"operator": self.heartbeat_s} if self.heartbeat_s else {})
