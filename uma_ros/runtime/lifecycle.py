"""A node with the life cycle of ROS 2: what `configure` makes is taken away by a clean up, and only an active node
acts."""

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
    """unconfigured -> inactive -> active, by `ros2 lifecycle set` or by `trigger_configure` and `trigger_activate`.

    A node fills in `configure`, `activate`, `deactivate` and `close`. Everything that it hears, says, serves and
    repeats is made in `configure`. A configuration that is refused (`InputError`) leaves the node unconfigured, as it
    was.

    Attributes:
        is_configured, is_active: where it stands.
        failure: why the last configuration failed.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_configured = self.is_active = False
        self.failure: Exception | None = None
        self._before: set[Any] = set()  # what there was before it was configured
        # rclpy lets a request for a transition that is not possible now end the node, and says nothing of why one
        # failed.
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

    # -- for the nodes -------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Make everything from `self.settings`. Raises `InputError` for settings with which it cannot work."""

    def activate(self) -> None:
        """May act from now on; `is_active` is set."""

    def deactivate(self) -> None:
        """Must not act any more; `is_active` is not set."""

    def close(self) -> None:
        """End threads and devices, while publishing is still possible; topics, services and timers are taken away
        afterwards."""

    def destroy_node(self) -> None:
        """Also the state machine and the actions, which rclpy forgets: they hold the node, and the others would go on
        seeing it until its lease ends."""
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
        """Back to unconfigured, as far as it goes."""
        why, self.is_active = self.failure, False
        if self.is_configured:
            self.on_cleanup(state)
        self.failure = why
        return TransitionCallbackReturn.SUCCESS

    def _attempt(self, step: Callable[[], None]) -> bool:
        """rclpy would swallow what is raised in a transition."""
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
        """Take away everything that `configure` made."""
        for kind in ("timer", "subscription", "service", "client", "publisher"):
            for entity in [e for e in getattr(self, f"{kind}s") if e not in self._before]:
                getattr(self, f"destroy_{kind}")(entity)
        for waitable in [
            w for w in self.waitables if isinstance(w, (ActionClient, ActionServer)) and w not in self._before
        ]:
            waitable.destroy()
