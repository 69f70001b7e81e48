"""Stand-ins for franka_ros2 and ros2_control: documented messages, and an arm that refuses steps in the wrong order."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

from rclpy.task import Future


def _message(**defaults):
    class Message:
        def __init__(self, **values) -> None:
            for name, default in defaults.items():
                setattr(self, name, values.pop(name, default() if callable(default) else default))
            assert not values, f"no such fields: {list(values)}"

        def get_fields_and_field_types(self):
            return {name: "" for name in defaults}

    return Message


State = _message(id=0, label="")
Errors = _message(
    joint_position_limits_violation=False, cartesian_reflex=False, communication_constraints_violation=False
)
SERVICES = {
    "ListControllers": (_message(), _message(controller=list)),
    "SwitchController": (
        _message(activate_controllers=list, deactivate_controllers=list, strictness=0, activate_asap=False),
        _message(ok=False, message=""),
    ),
    "SetHardwareComponentState": (_message(name="", target_state=State), _message(ok=False, state=State)),
}


def install(monkeypatch) -> None:
    """Put ``controller_manager_msgs.srv`` and ``franka_msgs.action`` where an import finds them."""
    srv, action = ModuleType("controller_manager_msgs.srv"), ModuleType("franka_msgs.action")
    for name, (request, response) in SERVICES.items():
        setattr(srv, name, SimpleNamespace(__name__=name, Request=request, Response=response))
    action.ErrorRecovery = SimpleNamespace(Goal=_message())
    for name, module in (
        ("controller_manager_msgs", ModuleType("controller_manager_msgs")),
        ("controller_manager_msgs.srv", srv),
        ("franka_msgs", ModuleType("franka_msgs")),
        ("franka_msgs.action", action),
    ):
        monkeypatch.setitem(sys.modules, name, module)


class Arm:
    """An arm behind ros2_control.

    Attributes:
        refuse: steps that fail: "switch", "recovery", "hardware".
        silent: services that never answer.
        absent: missing services.
        log: received requests, in order.
    """

    def __init__(self, controllers=("cartesian_impedance_controller", "joint_state_broadcaster")) -> None:
        self.states = {name: "active" for name in controllers}
        self.hardware, self.in_reflex, self.is_user_stopped = "active", False, False
        self.refuse: set[str] = set()
        self.silent: set[str] = set()
        self.absent: set[str] = set()
        self.log: list[str] = []
        self.timers: list = []

    def reflex(self) -> None:
        self.in_reflex, self.hardware = True, "inactive"

    # -- as a node's factories
    # ------------------------------------------------------------------------------------------------

    def create_client(self, kind, name, callback_group=None):
        return _Client(self, kind.__name__, name)

    def action_client(self, node, kind, name, callback_group=None):
        return _Action(self, name)

    def create_steady_timer(self, period, callback, group=None):
        self.timers.append(callback)
        return callback

    def destroy_timer(self, timer) -> None:
        self.timers.remove(timer)

    # -- as services ---------------------------------------------------------------------------------------------------

    def ListControllers(self, request, response):
        response.controller = [SimpleNamespace(name=n, state=s) for n, s in self.states.items()]

    def SwitchController(self, request, response):
        self.log.append(f"activate {request.activate_controllers} deactivate {request.deactivate_controllers}")
        if "switch" in self.refuse or request.activate_controllers and self.hardware != "active":
            response.message = "the hardware is not active"
            return
        self.states.update(
            {n: "inactive" for n in request.deactivate_controllers}
            | {n: "active" for n in request.activate_controllers}
        )
        response.ok = True

    def SetHardwareComponentState(self, request, response):
        assert (request.target_state.id, request.target_state.label) == (3, "active")
        self.log.append(f"hardware {request.name}")
        if "hardware" not in self.refuse and not self.in_reflex:
            self.hardware = "active"
        response.ok, response.state = self.hardware == "active", State(label=self.hardware)

    def error_recovery(self) -> int:
        """Status of the goal."""
        self.log.append("recovery")
        if (
            "recovery" in self.refuse
            or self.is_user_stopped
            or any(s == "active" for n, s in self.states.items() if "broadcaster" not in n)
        ):
            return 6
        self.in_reflex = False
        return 4


def _done(value) -> Future:
    future = Future()
    future.set_result(value)
    return future


class _Client:
    def __init__(self, arm: Arm, kind: str, name: str) -> None:
        self.arm, self.kind, self.srv_name = arm, kind, name

    def service_is_ready(self) -> bool:
        return self.kind not in self.arm.absent

    def call_async(self, request) -> Future:
        assert isinstance(request, SERVICES[self.kind][0])
        if self.kind in self.arm.silent:
            return Future()
        response = SERVICES[self.kind][1]()
        getattr(self.arm, self.kind)(request, response)
        return _done(response)


class _Action:
    def __init__(self, arm: Arm, name: str) -> None:
        self.arm, self.name = arm, name

    def server_is_ready(self) -> bool:
        return "recovery" not in self.arm.absent

    def send_goal_async(self, goal) -> Future:
        status = self.arm.error_recovery()
        return _done(SimpleNamespace(accepted=True, get_result_async=lambda: _done(SimpleNamespace(status=status))))
