"""The policy's worker: the end of a task, dropped tasks, and the choice among candidates."""

import time

import numpy as np
import pytest
from bundles import CONFIGS, bundle_of
from fake_policy import FakePolicy
from scenes import reference, scene
from uma_ros.action import ExecuteTask
from worker_bench import Bench

from uma.policy import Policy
from uma.policy.planner import plan
from uma.types import InputError
from uma_ros.messages import convert
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.slot import Phase
from uma_ros.policy.sources import TaskSources
from uma_ros.policy.tasks import FromBefore, FromInstruction, FromPrompt, FromReference

PATIENCE = 30.0


class Words:
    checkpoint = "words"


def moved(x: float = 0.1) -> FromReference:
    """A task whose end is ``x`` metres beside the end effector."""
    here = scene().T_cam_ee[:3, 3]
    motion = type(reference())([np.stack([here, here + [x, 0.0, 0.0]])])
    return FromReference(convert.reference_to(motion, convert.stamp_from(1.0)))


@pytest.fixture
def bench():
    """Return a function that makes a bench, which ends with the test."""
    made = []

    def make(policy, **settings) -> Bench:
        made.append(Bench(policy, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def run_to_end(b: Bench, most: int = 30) -> None:
    for _ in range(most):
        if b.ends:
            return
        assert b.show(PATIENCE)
        b.wait(lambda: bool(b.ends), 0.05)


def test_a_finished_task_ends_the_chunks_and_a_new_one_starts(bench):
    b = bench(FakePolicy(), finish_after=1.5)
    given = moved()
    b.give(given)
    run_to_end(b)
    assert b.ends and b.wait(lambda: b.worker.tasks.phase(given)[0] is Phase.FINISHED)
    assert not b.show() and not b.worker.tasks.has_work
    assert b.chunks[-1].stamp - b.chunks[0].stamp > 1.5
    b.give(moved(-0.1))
    assert b.worker.tasks.has_work and b.show(PATIENCE) and b.show(PATIENCE)
    assert len(b.ends) == 1, "the new task has its own end"


def test_no_task_finishes_with_zero_seconds(bench):
    b = bench(FakePolicy(), finish_after=0.0)
    b.give(moved())
    assert all(b.show(PATIENCE) for _ in range(15)) and not b.ends
    b.worker.change(4, False, 1, False, 1.0)
    run_to_end(b)
    assert b.ends, "the setting is live"


def test_a_dropped_task_ends_the_chunks_at_once(bench):
    b = bench(FakePolicy())
    given = moved()
    b.give(given)
    assert b.show(PATIENCE)
    b.worker.tasks.drop(given)
    assert not b.show() and not b.worker.tasks.has_work


def test_a_refused_task_leaves_the_running_one(bench):
    b = bench(FakePolicy())
    b.give(moved())
    assert b.show(PATIENCE)
    bad = FromInstruction("lift")
    b.give(bad)
    assert b.show(PATIENCE), "chunks of the running task"
    phase, reason = b.worker.tasks.phase(bad)
    assert phase is Phase.REFUSED and "reference motions only" in reason and b.refused == [f"instruction: {reason}"]


# -- several candidates ------------------------------------------------------------------------------------------------


def test_the_candidate_that_gets_farthest_is_taken(bench):
    b = bench(FakePolicy(), candidates=5, predict_motion=True)
    b.give(moved(0.5))
    assert b.show(PATIENCE) and b.wait(lambda: len(b.motions) == 1)
    full = FakePolicy().predict(b.scene, b.tasks[0].task).chunk
    assert np.allclose(b.chunks[0].poses, full.poses, atol=1e-6), "the others stop on the way"
    stages = b.stages[0]
    assert {"convert", "candidates", "plan", "total"} == set(stages)
    assert stages["total"] >= stages["candidates"] + stages["plan"] > 0


def test_a_task_without_keypoints_has_one_chunk(bench, tmp_path):
    (tmp_path / "p").write_text("a prompt")
    b = bench(FakePolicy(Words), candidates=5)
    for given in (FromInstruction("lift"), FromPrompt(str(tmp_path / "p"))):
        b.give(given)
        assert b.show(PATIENCE) and "plan" not in b.stages[-1]


def test_candidates_with_a_prefix_are_refused(bench):
    with pytest.raises(InputError, match="candidates: 4 with prefix 2, must be 1"):
        bench(FakePolicy(), candidates=4, prefix=2)


def test_a_real_model_s_choice_is_the_planner_s(bench):
    policy = Policy(bundle_of(CONFIGS["plain"]), num_steps=2)
    b = bench(policy, candidates=3, track=True)
    b.give(FromReference(convert.reference_to(reference(), convert.stamp_from(1.0))))
    assert b.show(PATIENCE) and b.show(PATIENCE)
    assert not b.refused
    frame = b.buffer.newest()
    observation = frame.observation(b.frames, policy.contract.ee_frame)
    found = plan(
        policy,
        observation,
        b.tasks[0].task,
        b.tasks[0].reference,
        num_candidates=3,
        sequence=1,
        keypoints=b.worker.keypoints,
    )
    assert np.array_equal(b.chunks[1].poses, found.chunk.poses) and len(set(found.costs)) > 1


def test_a_task_comes_back_with_its_tokens_and_untracked(bench, tmp_path):
    """Its keypoints have moved since its first image, so that a tracker would start at the wrong places."""
    prompt = tmp_path / "prompt"
    prompt.write_text("a prompt")
    b = bench(FakePolicy(), track=True)
    b.give(moved())
    assert b.show(PATIENCE) and b.worker.keypoints is not None
    first = b.worker.tasks.active
    b.give(FromPrompt(str(prompt)))
    assert b.show(PATIENCE) and b.worker.keypoints is None
    b.give(FromBefore(b.worker.tasks.previous().encoded))
    assert b.show(PATIENCE)
    active = b.worker.tasks.active
    assert active.encoded is first.encoded and b.worker.keypoints is None and not b.refused


def test_a_prompt_is_refused_before_it_waits(tmp_path):
    sources = TaskSources(FrameBuffer(), StaticFrames(), lambda: FakePolicy())
    for content, words in ((None, "no such file"), ("nonsense", "damaged")):
        path = tmp_path / "prompt"
        if content:
            path.write_text(content)
        with pytest.raises(InputError, match=words) as caught:
            sources.goal(ExecuteTask.Goal(prompt=str(path)))
        assert str(path) in str(caught.value)
    path.write_text("a prompt")
    assert sources.goal(ExecuteTask.Goal(prompt=str(path))) == FromPrompt(str(path))


def previewed(bench: Bench, given) -> list:
    """The result of a preview, once it is there."""
    found: list = []
    bench.worker.preview(given, found.append)
    end = time.monotonic() + PATIENCE
    while not found and time.monotonic() < end:
        time.sleep(0.01)
    return found


def test_a_preview_predicts_and_executes_nothing(bench):
    b = bench(FakePolicy())
    b.give(moved(0.1))
    assert b.show(PATIENCE)  # a frame, and a task that goes on
    b.worker.set_active(False)
    before, active = len(b.chunks), b.worker.tasks.active
    (found,) = previewed(b, moved(-0.2))
    here = scene().T_cam_ee[0, 3]
    assert found.chunk.poses[-1, 0, 3] < here - 0.1 and found.motion.points.shape == (16, 1, 3)
    assert len(b.chunks) == before and b.worker.tasks.active is active and not b.worker.tasks.has_next
    assert len(previewed(b, moved(0.1))) == 1  # and again


def test_a_preview_of_a_bad_task_is_refused_and_harms_nothing(bench):
    b = bench(FakePolicy())
    b.show()
    b.worker.set_active(False)
    (found,) = previewed(b, FromPrompt("no_such_prompt"))
    assert isinstance(found, InputError) and "no such file" in str(found)
    assert b.worker.failure is None


def test_no_preview_while_the_policy_acts(bench):
    b = bench(FakePolicy())
    b.show()
    with pytest.raises(InputError, match="must be stopped first"):
        b.worker.preview(moved(), lambda result: None)


def test_a_task_comes_in_force_beside_a_stopped_controller(bench):
    """The controller is started for a task in force, so its encoding must not wait for that start."""
    b = bench(FakePolicy())
    b.worker.set_active(False, encodes=True)
    b.give(moved())
    assert not b.show(0.5) and b.wait(lambda: len(b.tasks) == 1)
    assert not b.show(0.5) and len(b.tasks) == 1, "no chunk, and no second encoding"
    b.worker.set_active(True)
    assert b.show(PATIENCE) and len(b.tasks) == 1


def test_a_task_waits_while_the_policy_holds(bench):
    b = bench(FakePolicy())
    b.worker.set_active(False)
    b.give(moved())
    assert not b.show(0.5) and not b.tasks
