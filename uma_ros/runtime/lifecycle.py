"""A node with the ROS 2 life cycle. A clean-up destroys the entities of `configure`; only an active node acts."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient, ActionServer
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from uma.types import InputError

INACTIVE = "this node is not active (ros2 lifecycle)"


class ManagedNode(LifecycleNode):
    """Base of the nodes: unconfigured -> inactive -> active.

    `ros2 lifecycle set`, or `trigger_configure` and `trigger_activate`, run the transitions. A subclass implements
    `configure`, `activate`, `deactivate` and `close`. It creates its subscriptions, publishers, services and timers in
    `configure`. An `InputError` there leaves the node unconfigured.

    Attributes:
        is_configured, is_active: present state.
        failure: exception of the last failed transition.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_configured = self.is_active = False
        self.failure: Exception | None = None
        self._before: set[Any] = set()  # entities from before the configuration
        # In rclpy an invalid transition request ends the node, and a failed transition leaves no reason in the log.
        change = self._service_change_state.callback

        def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            self.failure = None
            try:
                response = change(request, response)
            except Exception as error:  # rclpy's own RCLError is not public
                self.failure, response.success = InputError(str(error).splitlines()[0]), False
            if self.failure is not None:
                why = (
                    str(self.failure)
                    if isinstance(self.failure, InputError)
                    else "".join(traceback.format_exception(self.failure))
                )
                self.get_logger().error(f"{self.get_name()}/change_state: {why}")
            return response

        self._service_change_state.callback = answer

    # -- for subclasses ------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Create all entities from `self.settings`. Raises `InputError` for unusable settings."""

    def activate(self) -> None:
        """Begin to act. `is_active` is already set."""

    def deactivate(self) -> None:
        """Stop acting. `is_active` is already cleared."""

    def close(self) -> None:
        """End threads and close devices. Publishers still work; the entities are destroyed afterwards."""

    def destroy_node(self) -> None:
        """Destroy the node with its state machine and actions.

        rclpy leaves these alive. They keep the node in the graph until its DDS lease ends.
        """
        for waitable in [w for w in self.waitables if isinstance(w, (ActionClient, ActionServer))]:
            waitable.destroy()
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # -- for rclpy -----------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._before = self._entities()
        if not self._attempt(self.configure):
            self._destroy()
            return TransitionCallbackReturn.FAILURE
        self.is_configured = True
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = True
        return TransitionCallbackReturn.SUCCESS if self._attempt(self.activate) else TransitionCallbackReturn.ERROR

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = False
        return TransitionCallbackReturn.SUCCESS if self._attempt(self.deactivate) else TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_configured = False
        done = self._attempt(self.close)
        self._destroy()
        return TransitionCallbackReturn.SUCCESS if done else TransitionCallbackReturn.ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self.is_active:
            self.on_deactivate(state)
        return self.on_cleanup(state) if self.is_configured else TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured. The failure stays recorded."""
        why, self.is_active = self.failure, False
        if self.is_configured:
            self.on_cleanup(state)
        self.failure = why
        return TransitionCallbackReturn.SUCCESS

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Run ``step``. Store its exception in `failure`, because rclpy discards exceptions of transitions."""
        try:
            step()
        except Exception as error:
            self.failure = error
            return False
        return True

    def _entities(self) -> set[Any]:
        actions = [w for w in self.waitables if isinstance(w, (ActionClient, ActionServer))]
        return {*self.publishers, *self.subscriptions, *self.services, *self.clients, *self.timers, *actions}

    def _destroy(self) -> None:
        """Destroy the entities of `configure`."""
        for kind in ("timer", "subscription", "service", "client", "publisher"):
            for entity in [e for e in getattr(self, f"{kind}s") if e not in self._before]:
                getattr(self, f"destroy_{kind}")(entity)
        for waitable in [
            w for w in self.waitables if isinstance(w, (ActionClient, ActionServer)) and w not in self._before
        ]:
            waitable.destroy()
