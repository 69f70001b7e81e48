"""A rehearsal: `uma rehearse` in a process of its own, and what the page shows of it."""

import sys

import numpy as np
import pytest
from teaching import FakeLink, eventually, free_port

from uma.policy.task_file import read_task
from uma.robot import DROID
from uma.types import InputError, ReferenceMotion
from uma_ros.teach.rehearsal import Rehearsal
from uma_ros.teach.task import Ask

SCRIPT = """
import shutil, sys, time
import numpy as np
words = sys.argv[1:]
print("1 of 20 s, 12 cm from the end", flush=True)
shutil.copy(words[2], {kept!r})
if words[1] == "hang":
    time.sleep(600)
if words[1] == "fail":
    sys.exit("scene: fail: not a snapshot")
np.savez(words[words.index("--out") + 1], tool=np.zeros((31, 3)), points=np.ones((31, 5, 3)))
print("2.0 s; the points end 1.2 cm from their ends", flush=True)
"""


@pytest.fixture
def rehearsal(tmp_path):
    path = tmp_path / "uma.py"
    path.write_text(SCRIPT.replace("{kept!r}", repr(str(tmp_path / "kept.json"))))
    rehearsal = Rehearsal([sys.executable, str(path)])
    yield rehearsal
    rehearsal.cancel()


def reference():
    return ReferenceMotion(np.arange(30.0).reshape(5, 2, 3) / 30)


def run(rehearsal, scene, ask):
    said, ended = [], []
    rehearsal.start(scene, ask, "models/x", said.append, lambda *answer: ended.append(answer))
    return said, ended


def test_the_way_and_the_words_come_back(rehearsal, tmp_path):
    said, ended = run(rehearsal, "scene", Ask(reference=reference()))
    assert eventually(lambda: bool(ended))
    outlook, text = ended[0]
    assert text == "2.0 s; the points end 1.2 cm from their ends" and said[0] == "1 of 20 s, 12 cm from the end"
    assert outlook.tool.shape == (31, 3) and outlook.motion.shape == (31, 5, 3) and outlook.seconds == 2.0
    sent, words = read_task(tmp_path / "kept.json")
    assert words == "" and all(np.array_equal(a, b) for a, b in zip(sent.waypoints, reference().waypoints))


def test_a_rehearsal_that_fails_says_why(rehearsal):
    _, ended = run(rehearsal, "fail", Ask(instruction="lift the cup"))
    assert eventually(lambda: bool(ended))
    assert ended[0] == (None, "rehearsal ended with code 1: scene: fail: not a snapshot")


def test_one_runs_at_a_time_and_can_be_cancelled(rehearsal):
    said, ended = run(rehearsal, "hang", Ask(instruction="lift the cup"))
    assert eventually(lambda: bool(said))
    with pytest.raises(InputError, match="another one is in progress"):
        run(rehearsal, "scene", Ask(instruction="lift the cup"))
    rehearsal.cancel()
    assert eventually(lambda: ended == [(None, "rehearsal cancelled")])


def test_a_prompt_is_not_rehearsed(rehearsal):
    with pytest.raises(InputError, match="needs a shown motion or words"):
        run(rehearsal, "scene", Ask(prompt="a.safetensors"))


@pytest.fixture
def page():
    pytest.importorskip("viser", reason="the extra 'teach' is not installed")
    from uma_ros.teach.page import Page, PageSettings

    page = Page(FakeLink(), PageSettings(port=free_port(), token="a_token_for_tests"), DROID, lambda text: None)
    yield page
    page.close()


def test_the_page_offers_a_rehearsal_beside_a_simulation(page):
    run = page.run
    run.refresh()
    assert run._rehearse.visible
    page.link.is_simulated = False
    run.refresh()
    assert not run._rehearse.visible
    with pytest.raises(InputError, match="rehearse: no task yet"):
        run.rehearse()
    page.ask.source, page.ask._text.value = "words", "lift the cup"
    run.rehearse()
    assert page.link.calls == ["rehearse"] and eventually(lambda: "Rehearsal: 2.0 s" in run._words.content)
    assert run.previewed == "", "a rehearsal is no preview of the first chunk"
