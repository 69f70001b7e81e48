"""Settings of the controller: rates, gates and limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from uma.control.gate import MODES
from uma.control.safety import SafetySettings
from uma.robot import DROID
from uma.settings import setting

GRIPPER_ACTIONS = ("GripperCommand", "ParallelGripperCommand")
"""Gripper actions of control_msgs."""


@dataclass(frozen=True)
class ControllerSettings:
    """All settings of a controller, except its topic names."""

    rate: float = setting(125.0, "Hz; targets sent to the robot", 20.0, 1000.0)
    autostart: bool = setting(False, "start with the first chunk; false = only after /uma/start")
    dry_run: bool = setting(False, "run everything, but send no targets and no gripper commands")
    base_frame: str = setting(DROID.base_frame, "base frame of the robot; chunks must be in it")
    robot_ee_frame: str = setting(DROID.flange_frame, "the end-effector frame of the robot's Cartesian controller")
    blend_s: float = setting(
        0.2, "s; blend time from the active chunk to a new one; with ensemble: fade-in time of a new chunk", 0.0, 2.0
    )
    ensemble: float = setting(
        0.0,
        "temporal ensembling: decay rate of a chunk's weight per newer chunk of the same task; "
        "0 = only the newest chunk counts",
        0.0,
        10.0,
    )
    max_chunk_age: float = setting(1.0, "s; a chunk from an older observation is refused", 0.05, 10.0, live=True)
    max_state_age: float = setting(
        0.3, "s; an older robot state is refused, and a longer silence causes HOLD", 0.005, 10.0, live=True
    )
    hold_limit: float = setting(
        5.0, "s; a longer HOLD requires a new start (with autostart: a new chunk)", 0.1, 3600.0, live=True
    )
    gripper_close_above: float = setting(0.6, "0 to 1; the gripper closes above this action value", 0.0, 1.0)
    gripper_open_below: float = setting(0.4, "0 to 1; the gripper opens below this action value", 0.0, 1.0)
    gripper_effort: float = setting(40.0, "N; effort of the gripper goal", 0.0, 235.0, live=True)
    gripper_action: str = setting(
        "GripperCommand", "the control_msgs action of the gripper's driver", choices=GRIPPER_ACTIONS
    )
    confirm: str = setting(
        "off",
        "what waits for /uma/confirm before the robot moves: nothing, every new task or every chunk (single step)",
        choices=MODES,
    )
    heartbeat_s: float = setting(
        0.0,
        "s; longest silence of a remote operator's heartbeat before HOLD; 0 = no heartbeat required",
        0.0,
        60.0,
    )
    max_departure: float = setting(
        0.0, "m; largest distance of the predicted motion from the reference path before HOLD; 0 = no check", 0.0, 2.0
    )
    safety: SafetySettings = field(default_factory=SafetySettings)

    @property
    def period(self) -> float:
        """Seconds between two targets."""
        return 1.0 / self.rate

    @property
    def needs_task(self) -> bool:
        """Whether the controller depends on the current task."""
        return self.confirm != "off" or bool(self.max_departure or self.ensemble)

    @property
    def silence_limits(self) -> dict[str, float]:
        """Source -> longest silence, seconds. A calibration does not age."""
        limits = {"robot": self.max_state_age, "gripper": self.max_state_age, "calibration": float("inf")}
        return limits | ({"operator": self.heartbeat_s} if self.heartbeat_s else {})
