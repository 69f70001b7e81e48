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

from uma.policy.finished import FinishDetector, end_distance
from uma.policy.prefix import committed
from uma.policy.tracker import KeypointTracker
from uma.types import RATE_HZ, ActionChunk, InputError, KeypointState, MotionPrediction, Observation, Prediction
from uma_ros.messages.frame_buffer import Frame, FrameBuffer
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.preview import Preview, preview
from uma_ros.policy.slot import ActiveTask, TaskSlot
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
    def on_finished(self, distance: float) -> None: ...
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
        finish_after: seconds of still chunks that finish a task, see `FinishDetector`; 0 = never.
        candidates: chunks drawn per replan. With several, the one that gets farthest along the reference is taken.

    Attributes:
        tasks: the task in force and the next one.
        end_distance: mean distance of the tracked keypoints to the end of the reference, metres; NaN if unknown.

    Raises:
        InputError: several candidates and a prefix.
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
        finish_after: float = 0.0,
        candidates: int = 1,
    ) -> None:
        if candidates > 1 and prefix:
            raise InputError(f"candidates: {candidates} with prefix {prefix}, must be 1; candidates have no prefix")
        self.wake = threading.Condition()
        self.failure: Exception | None = None
        self.tasks, self.end_distance = TaskSlot(self.wake), float("nan")
        self._listener, self._buffer, self._frames = listener, buffer, frames
        self._plan_every(replan_steps)
        self._predict_motion, self._prefix, self._track = predict_motion, prefix, track
        self._detector, self._candidates = FinishDetector(finish_after), candidates
        self._tracker: KeypointTracker | None = None
        self._running: ActionChunk | None = None  # last published chunk of the current task
        self._loaded = threading.Event()
        self._policy: Any = None
        self._motion_policy: Any = None
        self._asked: list[Callable[[], None]] = []
        self._active = self._encodes = self._closing = False
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

    def change(
        self, replan_steps: int, predict_motion: bool, motion_samples: int, track: bool, finish_after: float = 0.0
    ) -> None:
        """Change live settings from the next chunk on, ``track`` from the next task on."""
        with self.wake:
            self._plan_every(replan_steps)
            self._predict_motion, self._track, self._detector.after_s = predict_motion, track, finish_after
            if self._motion_policy is not None:
                self._motion_policy.config = replace(self._motion_policy.config, num_samples=motion_samples)

    def _plan_every(self, steps: int) -> None:
        self._period_ns = int((steps - 0.5) / RATE_HZ * 1e9)  # half a step early, because the image period jitters

    @property
    def _predicts(self) -> bool:
        return self._predict_motion and self._policy.predicts_motion

    @property
    def policy(self) -> Any:
        """The policy for chunks; None until it is loaded."""
        return self._policy

    def give_task(self, given: GivenTask) -> None:
        """Set the next task, which is encoded with the next frame."""
        with self.wake:
            self.tasks.give(given)
            self.wake.notify()

    def set_active(self, active: bool, *, encodes: bool = False) -> Frame | None:
        """Start or stop the chunks. Return the newest complete frame.

        Args:
            encodes: put a new task in force also without chunks, for a controller that is started only then.
        """
        with self.wake:
            self._active, self._encodes = active, encodes
            if not active:
                self._running = None  # the robot does not execute the rest of it
            self.wake.notify()
            return self._buffer.newest()

    def preview(self, given: GivenTask, done: Callable[[Preview | InputError], None]) -> None:
        """Predict one chunk of a task that is not executed; ``done`` gets the result in the worker's thread.

        Raises:
            InputError: the policy acts or is not loaded, there is no complete observation, or another preview runs.
        """
        with self.wake:
            frame = self._buffer.newest()
            if self._active:
                raise InputError("preview: the policy acts on a task, which must be stopped first")
            if self._policy is None:
                raise InputError("preview: no policy is loaded yet")
            if frame is None:
                raise InputError("preview: no complete observation yet")
            if self._asked:
                raise InputError("preview: another one is in progress")
            self._asked.append(lambda: self._look(frame, given, done))
            self.wake.notify()

    def _look(self, frame: Frame, given: GivenTask, done: Callable[[Preview | InputError], None]) -> None:
        try:
            with self.wake:
                observation = frame.observation(self._frames, self._policy.contract.ee_frame)
            done(preview((self._policy, self._motion_policy), frame, observation, self._lookup, given))
        except InputError as error:
            done(error)

    def _lookup(self, target: str, source: str) -> np.ndarray:
        with self.wake:
            return self._frames.lookup(target, source)

    def predict_motion(self, chunk: ActionChunk) -> tuple[Frame, MotionPrediction]:
        """Predict the object motion of ``chunk`` (dynamics) in the caller's thread.

        Raises:
            InputError: there is no complete observation, or no task with keypoints; or the chunk does not fit.
        """
        with self.wake:
            frame, active = self._buffer.newest(), self.tasks.active
            policy, keypoints = self._motion_policy, self.keypoints
        if frame is None or active is None:
            raise InputError(
                "nothing to predict from: " + ("no complete observation yet" if frame is None else "no task yet")
            )
        task = active.encoded.task
        if not len(task.keypoints):
            raise InputError(
                "nothing to predict: the task has no keypoints; motion prediction needs a reference motion"
            )
        observation = frame.observation(self._frames, policy.contract.ee_frame)
        if chunk.frame != observation.camera.frame:
            chunk = chunk.transformed(
                self._frames.lookup(observation.camera.frame, chunk.frame), observation.camera.frame
            )
        return frame, policy.predict_motion(observation, task, chunk, sequence=chunk.sequence, keypoints=keypoints)

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
                    while not self._closing and (job := self._next_job()) is None and not self._asked:
                        self.wake.wait(0.2)
                    if self._closing:
                        return
                if job is not None:
                    self._answer(*job)
                    self.tasks.release()
                elif self._asked:
                    self._asked[0]()
                    self._asked.clear()
        except Exception as error:  # the node raises it and ends
            self.failure = error
            self._loaded.set()

    def _next_job(self) -> tuple[Frame, GivenTask | None, bool] | None:
        """Return the newest complete frame, a task to encode, and whether a chunk is due. The caller holds the lock.

        None if the frame is already processed. Where no chunk is due, only the tracker processes the frame.
        """
        is_wanted = self._active or self._encodes and self.tasks.has_next
        frame = self._buffer.newest() if is_wanted else None
        if frame is None:
            return None
        if frame.stamp_ns < self._last_stamp:  # time went back: another bag or simulation
            self._last_stamp = self._tracked_stamp = -1
        # At most one chunk per image, so that the stamp of a chunk identifies its task.
        is_new = frame.stamp_ns != self._last_stamp
        is_late = self.tasks.runs and frame.stamp_ns - self._last_stamp >= self._period_ns
        is_due = is_new and (self.tasks.has_next or is_late)
        if not is_due and (self._tracker is None or frame.stamp_ns <= self._tracked_stamp):
            return None
        return frame, self.tasks.take() if is_due else None, is_due

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
            active = self.tasks.active
            if active is None or not self.tasks.runs or not self._active:
                return
            self._follow(frame, observation)
            if active.frame != observation.camera.frame:
                raise InputError(f"camera frame {observation.camera.frame!r}: the task is in {active.frame!r}")
            sequence, self._sequence = self._sequence, self._sequence + 1
            prediction = self._predict(observation, active, sequence)
            if not self._active or self.tasks.active is not active:
                return
            stages = {"convert": converted, **{k: v for k, v in prediction.latency_ms.items() if k != "total"}}
            total = (time.perf_counter() - began) * 1e3
            self._running = self._listener.on_chunk(frame, prediction, {**stages, "total": total})
            if self._detector.update(observation, prediction.chunk) and self.tasks.active is active:
                self._listener.on_finished(self.end_distance)
                self.tasks.finish(active)
            # After the publication of the chunk, which must not wait for the prediction.
            motion = prediction.motion
            if motion is None and self._predicts and len(active.encoded.task.keypoints):
                motion = self._motion_policy.predict_motion(
                    observation, active.encoded.task, prediction.chunk, sequence=sequence, keypoints=self.keypoints
                )
            if motion is not None:
                self._listener.on_motion(frame, motion)
        except InputError as error:
            self._listener.on_refused("observation", error)

    def _predict(self, observation: Observation, active: ActiveTask, sequence: int) -> Prediction:
        """Return one chunk; with several candidates and a reference, the best one with its motion (paper Eq. 6)."""
        task, reference = active.encoded.task, active.encoded.reference
        if self._candidates == 1 or reference is None:
            prefix = committed(self._running, observation, self._prefix)
            return self._policy.predict(observation, task, sequence=sequence, prefix=prefix)
        from uma.policy.planner import plan

        began = time.perf_counter()
        chunks = self._policy.predict_candidates(observation, task, self._candidates, sequence=sequence)
        drawn = time.perf_counter()
        best = plan(
            self._motion_policy,
            observation,
            task,
            reference,
            sequence=sequence,
            candidates=chunks,
            keypoints=self.keypoints,
        )
        planned = time.perf_counter()
        latency = {"candidates": 1e3 * (drawn - began), "plan": 1e3 * (planned - drawn)}
        return Prediction(best.chunk, best.motion, {**latency, "total": sum(latency.values())})

    @property
    def keypoints(self) -> KeypointState | None:
        """Return the tracked keypoints; None if they are not tracked."""
        return self._tracker.state if self._tracker else None

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
        state = self._tracker.update(observation)
        active = self.tasks.active
        if active is not None:
            self.end_distance = end_distance(state, active.encoded.task.goals)
        self._listener.on_keypoints(frame, state)

    def _track_task(self, frame: Frame, observation: Observation, keypoints: np.ndarray) -> None:
        """Start to track the keypoints of a task in its first image, if it has any."""
        self._tracker, self.end_distance = None, float("nan")
        if not self._track or not len(keypoints):
            return
        self._tracker, self._tracked_stamp = KeypointTracker(observation, keypoints), frame.stamp_ns

    def _take_task(self, frame: Frame, observation: Observation, given: GivenTask) -> None:
        """Encode a new task. The current one stays if the new one is refused."""
        try:
            encoded = given.encode(self._policy, observation, self._lookup, frame.rgb.header.stamp)
        except InputError as error:
            self.tasks.refuse(given, str(error))
            self._listener.on_refused(given.source, error)
            return
        if not self.tasks.accept(ActiveTask(given, encoded, observation.camera.frame)):
            return
        self._running = None
        self._detector.reset()
        is_new = encoded.echo.header.stamp == frame.rgb.header.stamp
        self._track_task(frame, observation, encoded.task.keypoints if is_new else encoded.task.keypoints[:0])
        self._listener.on_task(encoded)
