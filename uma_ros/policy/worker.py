"""Worker thread of the policy: processes the newest complete frame when a chunk or a task is due.

Torch does not run in the executor's callbacks, except for a requested motion prediction. The lock `PolicyWorker.wake`
guards the shared data: frame buffer, static frames, pending task, active flag.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from uma.policy.prefix import committed
from uma.policy.tracker import KeypointTracker
from uma.types import RATE_HZ, ActionChunk, InputError, KeypointState, MotionPrediction, Observation, Prediction
from uma_ros.messages.frame_buffer import Frame, FrameBuffer
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.tasks import Encoded, GivenTask


class Listener(Protocol):
    """Receives the results in the worker's thread.

    `on_chunk` returns the chunk as published. The prefix of the next chunk is then equal to that of a replay.
    """

    def on_ready(self, policy: Any) -> None: ...
    def on_task(self, encoded: Encoded) -> None: ...
    def on_chunk(self, frame: Frame, prediction: Prediction, stages_ms: dict[str, float]) -> ActionChunk: ...
    def on_motion(self, frame: Frame, motion: MotionPrediction) -> None: ...
    def on_keypoints(self, frame: Frame, state: KeypointState) -> None: ...
    def on_refused(self, source: str, error: InputError | str) -> None: ...


class PolicyWorker:
    """
    Args:
        load: returns the policy for chunks and the policy for predicted motion; called in the worker's thread.
        listener: receives the results.
        replan_steps: actions after which a new chunk is due.
        predict_motion: also predict the object motion of each chunk, if the task has keypoints.
        prefix: leading actions of a chunk that repeat the previous chunk of the same task.
        track: track the task's keypoints from image to image, for motion prediction.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, Any]],
        listener: Listener,
        buffer: FrameBuffer,
        frames: StaticFrames,
        replan_steps: int,
        predict_motion: bool,
        prefix: int = 0,
        track: bool = True,
    ) -> None:
        self.wake = threading.Condition()
        self.failure: Exception | None = None
        self._listener, self._buffer, self._frames = listener, buffer, frames
        self._plan_every(replan_steps)
        self._predict_motion, self._prefix, self._track = predict_motion, prefix, track
        self._tracker: KeypointTracker | None = None
        self._running: ActionChunk | None = None  # last published chunk of the current task
        self._loaded = threading.Event()
        self._policy: Any = None
        self._motion_policy: Any = None
        self._task: Any = None
        self._task_frame = ""
        self._new_task: GivenTask | None = None
        self._active = self._closing = self._encoding = False
        self._last_stamp, self._tracked_stamp, self._sequence = -1, -1, 0
        self._thread = threading.Thread(target=self._run, args=(load,), daemon=True)

    # -- for the node's thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self.wake:
            self._closing = True
            self.wake.notify()
        self._thread.join(timeout=2.0)

    def wait_loaded(self) -> None:
        """Block until the policies are loaded or `failure` is set."""
        self._loaded.wait()

    def change(self, replan_steps: int, predict_motion: bool, motion_samples: int, track: bool) -> None:
        """Change live settings from the next chunk on, ``track`` from the next task on."""
        with self.wake:
            self._plan_every(replan_steps)
            self._predict_motion, self._track = predict_motion, track
            if self._motion_policy is not None:
                self._motion_policy.config = replace(self._motion_policy.config, num_samples=motion_samples)

    def _plan_every(self, steps: int) -> None:
        self._period_ns = int((steps - 0.5) / RATE_HZ * 1e9)  # half a step early, because the image period jitters

    @property
    def has_task(self) -> bool:
        return self._task is not None or self._new_task is not None or self._encoding

    @property
    def policy(self) -> Any:
        """The policy for chunks; None until it is loaded."""
        return self._policy

    def give_task(self, given: GivenTask) -> None:
        """Set the pending task, which is encoded with the next frame. The caller holds the lock."""
        self._new_task = given

    def set_active(self, active: bool) -> Frame | None:
        """Start or stop the chunks. Return the newest complete frame."""
        with self.wake:
            self._active = active
            if not active:
                self._running = None  # the robot does not execute the rest of it
            self.wake.notify()
            return self._buffer.newest()

    def predict_motion(self, chunk: ActionChunk) -> tuple[Frame, MotionPrediction]:
        """Predict the object motion of ``chunk`` (dynamics) in the caller's thread.

        Raises:
            InputError: there is no complete observation, or no task with keypoints; or the chunk does not fit.
        """
        with self.wake:
            frame, task, policy, tracker = self._buffer.newest(), self._task, self._motion_policy, self._tracker
        if frame is None or task is None:
            raise InputError(
                "nothing to predict from: " + ("no complete observation yet" if frame is None else "no task yet")
            )
        if not len(task.keypoints):
            raise InputError(
                "nothing to predict: the task has no keypoints; motion prediction needs a reference motion"
            )
        observation = frame.observation(self._frames, policy.contract.ee_frame)
        if chunk.frame != observation.camera.frame:
            chunk = chunk.transformed(
                self._frames.lookup(observation.camera.frame, chunk.frame), observation.camera.frame
            )
        return frame, policy.predict_motion(
            observation, task, chunk, sequence=chunk.sequence, keypoints=tracker.state if tracker else None
        )

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self, load: Callable[[], tuple[Any, Any]]) -> None:
        try:
            self._policy, self._motion_policy = load()
            if self._prefix >= self._policy.contract.horizon:
                raise InputError(
                    f"prefix: {self._prefix}, must be fewer than the chunk's {self._policy.contract.horizon} actions"
                )
            self._listener.on_ready(self._policy)
            self._loaded.set()
            while True:
                with self.wake:
                    while not self._closing and (job := self._next_job()) is None:
                        self.wake.wait(0.2)
                    if self._closing:
                        return
                self._answer(*job)
                self._encoding = False
        except Exception as error:  # the node raises it and ends
            self.failure = error
            self._loaded.set()

    def _next_job(self) -> tuple[Frame, GivenTask | None, bool] | None:
        """Return the newest complete frame, a task to encode, and whether a chunk is due. The caller holds the lock.

        None if the frame is already processed. Where no chunk is due, only the tracker processes the frame.
        """
        frame = self._buffer.newest() if self._active else None
        if frame is None:
            return None
        if frame.stamp_ns < self._last_stamp:  # time went back: another bag or simulation
            self._last_stamp = self._tracked_stamp = -1
        # At most one chunk per image, so that the stamp of a chunk identifies its task.
        is_new = frame.stamp_ns != self._last_stamp
        is_late = self._task is not None and frame.stamp_ns - self._last_stamp >= self._period_ns
        is_due = is_new and (self._new_task is not None or is_late)
        if not is_due and (self._tracker is None or frame.stamp_ns <= self._tracked_stamp):
            return None
        task = None
        if is_due:
            self._encoding = self._new_task is not None  # set first: `has_task` reads it without the lock
            task, self._new_task = self._new_task, None
        return frame, task, is_due

    def _answer(self, frame: Frame, new_task: GivenTask | None, is_due: bool) -> None:
        began = time.perf_counter()
        if not is_due:
            self._follow_alone(frame)
            return
        self._last_stamp = frame.stamp_ns
        try:
            with self.wake:
                observation = frame.observation(self._frames, self._policy.contract.ee_frame)
            converted = (time.perf_counter() - began) * 1e3
            if new_task is not None:
                self._take_task(frame, observation, new_task)
            if self._task is None:
                return
            self._follow(frame, observation)
            if self._task_frame != observation.camera.frame:
                raise InputError(f"camera frame {observation.camera.frame!r}: the task is in {self._task_frame!r}")
            sequence, self._sequence = self._sequence, self._sequence + 1
            prefix = committed(self._running, observation, self._prefix)
            prediction = self._policy.predict(observation, self._task, sequence=sequence, prefix=prefix)
            if not self._active:
                return
            stages = {"convert": converted, **{k: v for k, v in prediction.latency_ms.items() if k != "total"}}
            total = (time.perf_counter() - began) * 1e3
            self._running = self._listener.on_chunk(frame, prediction, {**stages, "total": total})
            # After the publication of the chunk, which must not wait for the prediction.
            if self._predict_motion and len(self._task.keypoints):
                keypoints = self._tracker.state if self._tracker else None
                motion = self._motion_policy.predict_motion(
                    observation, self._task, prediction.chunk, sequence=sequence, keypoints=keypoints
                )
                self._listener.on_motion(frame, motion)
        except InputError as error:
            self._listener.on_refused("observation", error)

    def _follow_alone(self, frame: Frame) -> None:
        try:
            with self.wake:
                observation = frame.observation(self._frames, self._policy.contract.ee_frame)
            self._follow(frame, observation)
        except InputError as error:
            self._listener.on_refused("observation", error)

    def _follow(self, frame: Frame, observation: Observation) -> None:
        """Track the keypoints in a new frame."""
        if self._tracker is None or frame.stamp_ns <= self._tracked_stamp:
            return
        self._tracked_stamp = frame.stamp_ns
        self._listener.on_keypoints(frame, self._tracker.update(observation))

    def _track_task(self, frame: Frame, observation: Observation, keypoints: np.ndarray) -> None:
        """Start to track the keypoints of a new task, if it has any."""
        self._tracker = None
        if not self._track or not len(keypoints):
            return
        self._tracker, self._tracked_stamp = KeypointTracker(observation, keypoints), frame.stamp_ns

    def _take_task(self, frame: Frame, observation: Observation, given: GivenTask) -> None:
        """Encode a new task. The current one stays if the new one is refused."""

        def lookup(target: str, source: str) -> np.ndarray:
            with self.wake:
                return self._frames.lookup(target, source)

        try:
            encoded = given.encode(self._policy, observation, lookup, frame.rgb.header.stamp)
        except InputError as error:
            self._listener.on_refused(given.source, error)
            return
        self._task, self._task_frame, self._running = encoded.task, observation.camera.frame, None
        self._track_task(frame, observation, encoded.task.keypoints)
        self._listener.on_task(encoded)
