"""The panel of demonstrations: commands to the recorder, and an adaptation in processes of its own."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from teaching import FakeLink, eventually, free_port

from uma.control.session import State
from uma.robot import DROID
from uma.types import InputError
from uma_ros.teach.adaptation import Adaptation
from uma_ros.teach.gatekeeper import NodeState
from uma_ros.teach.page import Page, PageSettings
from uma_ros.teach.panels.demonstrations import NO_RECORDER
from uma_ros.teach.requests import qr

SCRIPT = """
import sys, time, pathlib
words = sys.argv[1:]
pathlib.Path(words[-1] + ".words").write_text(" ".join(words))
print(f"{words[0]} works", flush=True)
if "{hang}" == words[0]:
    time.sleep(600)
if "{fail}" == words[0]:
    sys.exit("no demonstration is kept")
pathlib.Path(words[-1]).write_text("x")
"""


def command(folder: Path, hang: str = "", fail: str = "") -> list[str]:
    """The words of a program in place of `uma`. Its last word is a file that it writes."""
    path = folder / "uma.py"
    path.write_text(SCRIPT.replace("{hang}", hang).replace("{fail}", fail))
    return [sys.executable, str(path)]


@pytest.fixture
def demonstrations(tmp_path) -> Path:
    folder = tmp_path / "mug"
    folder.mkdir()
    return folder


def test_import_and_adapt_run_one_after_another(tmp_path, demonstrations):
    told = []
    adaptation = Adaptation(lambda: told.append(adaptation.words), command(tmp_path))
    adaptation.start(str(demonstrations), "models/x")
    assert eventually(lambda: not adaptation.is_running)
    prompt = f"{demonstrations}_prompt_1.safetensors"
    assert adaptation.prompt == prompt and adaptation.words == f"prompt {prompt}"
    assert told[:2] == ["import: import works", "adapt: adapt works"]
    episodes = f"{demonstrations}_episodes"
    assert Path(f"{episodes}.words").read_text() == f"import bag {demonstrations} --out {episodes}"
    wanted = f"adapt --data {episodes} --checkpoint models/x --out {prompt}"
    assert Path(f"{prompt}.words").read_text() == wanted
    adaptation.start(str(demonstrations), "models/x")  # the first prompt stays
    assert eventually(lambda: adaptation.prompt == f"{demonstrations}_prompt_2.safetensors")
    assert Path(prompt).read_text() == "x"


@pytest.mark.parametrize("step", ["import", "adapt"])
def test_a_failure_ends_it_with_the_last_line(tmp_path, demonstrations, step):
    adaptation = Adaptation(lambda: None, command(tmp_path, fail=step))
    adaptation.start(str(demonstrations), "models/x")
    assert eventually(lambda: not adaptation.is_running)
    assert adaptation.prompt == ""
    assert adaptation.words == f"{step} failed with code 1: {step}: no demonstration is kept"
    assert Path(f"{demonstrations}_prompt_1.safetensors.words").exists() == (step == "adapt")


def test_one_adaptation_at_a_time_and_cancel_ends_it(tmp_path, demonstrations):
    adaptation = Adaptation(lambda: None, command(tmp_path, hang="import"))
    with pytest.raises(InputError, match="no folder: no demonstrations yet"):
        adaptation.start("", "models/x")
    adaptation.start(str(demonstrations), "models/x")
    assert eventually(lambda: adaptation.words == "import: import works")
    with pytest.raises(InputError, match="an adaptation runs already"):
        adaptation.start(str(demonstrations), "models/x")
    adaptation.cancel()
    assert eventually(lambda: not adaptation.is_running)
    assert adaptation.words == "cancelled" and adaptation.prompt == ""


@pytest.fixture
def page():
    page = Page(FakeLink(), PageSettings(port=free_port(), token="a_token_for_tests"), DROID, lambda text: None)
    yield page
    page.close()


def said(element) -> str:
    return element.content


def test_record_judge_and_discard_reach_the_recorder(page):
    panel, link = page.demonstrations, page.link
    page.view = link.view()
    panel._text.value = "  hang the mug up "
    panel._command("start")
    assert eventually(lambda: panel._pictures["first"].image.std() > 0)
    panel._command("success")
    panel._command("discard_last")
    assert link.calls == ["episode start hang the mug up", "episode success", "episode discard_last"]
    assert eventually(lambda: np.array_equal(panel._pictures["last"].image, panel._pictures["first"].image))


def test_the_number_is_always_shown(page):
    panel, link = page.demonstrations, page.link
    panel.refresh()
    assert NO_RECORDER in said(panel._number)
    with pytest.raises(InputError, match="no recorder"):
        panel.adapt()
    link.folder = "data/mug"
    link.states["recorder"] = NodeState(State.RUNNING, "episode 7 runs for 3 s; <b>5 success</b>")
    panel.refresh()
    assert "episode 7 runs for 3 s; &lt;b&gt;5 success" in said(panel._number)


def test_the_new_prompt_becomes_the_task_and_back_is_a_call(page, tmp_path, demonstrations):
    panel, link = page.demonstrations, page.link
    panel.adaptation = Adaptation(lambda: None, command(tmp_path))
    with pytest.raises(InputError, match="prompt: none yet"):
        panel.use()
    link.folder = str(demonstrations)
    panel.adapt()
    assert eventually(lambda: bool(panel.adaptation.prompt))
    panel.use()
    task = page.ask.task()
    assert task is not None and task.prompt == f"{demonstrations}_prompt_1.safetensors"
    panel.back()
    assert link.calls == ["previous_task"]


def test_the_end_of_the_page_ends_the_adaptation(tmp_path, demonstrations):
    page = Page(FakeLink(), PageSettings(port=free_port(), token="a_token_for_tests"), DROID, lambda text: None)
    adaptation = page.demonstrations.adaptation = Adaptation(lambda: None, command(tmp_path, hang="adapt"))
    adaptation.start(str(demonstrations), "models/x")
    assert eventually(lambda: adaptation.words == "adapt: adapt works")
    began = time.monotonic()
    page.close()
    assert eventually(lambda: not adaptation.is_running) and time.monotonic() - began < 20


def test_the_address_as_a_picture():
    pytest.importorskip("qrcode")
    rows = qr("http://192.168.1.7:8080/?token=abcdefgh").splitlines()
    assert len(rows) > 10 and len({len(row) for row in rows if row}) == 1
