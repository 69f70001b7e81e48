"""The task in force and the next one: acceptance, refusal, replacement, end."""

import threading

import numpy as np
import pytest
from uma_ros.msg import ReferenceMotion

from uma.types import InputError
from uma_ros.policy.slot import ActiveTask, Phase, TaskSlot
from uma_ros.policy.tasks import Encoded, FromInstruction


@pytest.fixture
def slot() -> TaskSlot:
    return TaskSlot(threading.Condition())


def a_task(words: str = "lift") -> tuple[FromInstruction, ActiveTask]:
    given = FromInstruction(words)
    return given, ActiveTask(given, Encoded(np.zeros(1), ReferenceMotion(object_label=words)), "cam")


def in_force(slot: TaskSlot, words: str = "lift") -> tuple[FromInstruction, ActiveTask]:
    given, task = a_task(words)
    slot.give(given)
    assert slot.take() is given and slot.accept(task)
    return given, task


def test_a_task_waits_is_in_force_and_finishes(slot):
    given, task = a_task()
    assert not slot.has_work
    slot.give(given)
    assert slot.phase(given) == (Phase.WAITING, "") and slot.has_work and not slot.runs
    assert slot.take() is given and slot.phase(given)[0] is Phase.WAITING and slot.has_work
    assert slot.accept(task) and slot.runs and slot.phase(given) == (Phase.ACTIVE, "instruction 'lift'")
    slot.finish(task)
    assert slot.phase(given)[0] is Phase.FINISHED and slot.active is task and not slot.has_work


def test_a_new_task_starts_after_a_finished_one(slot):
    old, task = in_force(slot)
    slot.finish(task)
    new, _ = in_force(slot, "push")
    assert slot.runs and not slot.is_finished
    assert slot.phase(old) == (Phase.GONE, "instruction 'push'") and slot.phase(new)[0] is Phase.ACTIVE
    slot.finish(task)
    assert slot.runs, "the end of the old task does not end the new one"


def test_a_refused_task_leaves_the_one_in_force(slot):
    old, _ = in_force(slot)
    bad, _ = a_task("")
    slot.give(bad)
    slot.take()
    slot.refuse(bad, "data: empty")
    assert slot.phase(bad) == (Phase.REFUSED, "data: empty") and slot.phase(old)[0] is Phase.ACTIVE and slot.runs


def test_a_task_is_replaced_before_its_encoding(slot):
    first, second = a_task("a")[0], a_task("b")[0]
    slot.give(first)
    slot.give(second)
    assert slot.phase(first) == (Phase.GONE, "") and slot.phase(second)[0] is Phase.WAITING


def test_the_same_words_twice_are_two_tasks(slot):
    first, _ = in_force(slot)
    second = FromInstruction("lift")
    assert first == second
    slot.give(second)
    assert slot.phase(first)[0] is Phase.ACTIVE and slot.phase(second)[0] is Phase.WAITING


@pytest.mark.parametrize("stage", ["next", "encoding", "active"])
def test_a_dropped_task_is_gone_at_every_stage(slot, stage):
    given, task = a_task()
    slot.give(given)
    if stage != "next":
        slot.take()
    if stage == "active":
        assert slot.accept(task)
    slot.drop(given)
    assert slot.phase(given) == (Phase.GONE, "") and not slot.has_work and slot.active is None
    assert not slot.accept(task), "its encoding comes too late"


def test_dropping_another_task_changes_nothing(slot):
    given, _ = in_force(slot)
    slot.drop(FromInstruction("lift"))
    assert slot.phase(given)[0] is Phase.ACTIVE


def test_a_taken_task_without_an_image_is_taken_again(slot):
    given, _ = a_task()
    slot.give(given)
    slot.take()
    slot.release()
    assert slot.take() is given
    newer = FromInstruction("push")
    slot.give(newer)
    slot.release()
    assert slot.take() is newer and slot.phase(given)[0] is Phase.GONE


def test_the_task_before_is_there_to_go_back_to(slot):
    with pytest.raises(InputError, match="there was none before"):
        slot.previous()
    _, first = in_force(slot)
    with pytest.raises(InputError, match="there was none before"):
        slot.previous()
    second, task = in_force(slot, "push")
    assert slot.previous() is first
    slot.drop(second)
    _, third = in_force(slot, "turn")
    assert slot.previous() is first, "a dropped task is none to go back to"
    in_force(slot, "lift")
    assert slot.previous() is third
