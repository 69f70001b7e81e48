"""The table of modes: one row, one mask, for batches and for the policy alike (paper Eq. 1)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import reference, scene

from uma.checkpoint.bundle import Bundle, Contract
from uma.checkpoint.prompt import Prompt, save_prompt
from uma.model.config import LanguageConfig, tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.modes import MODES, TASK_SOURCES, Mode
from uma.policy.policy import History
from uma.policy.query import Query
from uma.types import KeypointState, ReferenceMotion

K, H, PAST, PREFIX = 3, 16, 2, 4
ROWS = MODES | {
    f"{name}, {given}": MODES[name].giving(**{given: True})
    for name, given in (
        ("joint", "keypoints"),
        ("joint", "prefix"),
        ("joint", "history"),
        ("dynamics", "keypoints"),
        ("dynamics", "history"),
        ("prefix", "history"),
    )
}
SEEN = np.array([True, False, True])


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    config = replace(tiny(), history=PAST, language=LanguageConfig("words", layers=1, embedding=32))
    return Policy(Bundle(Uma(config, Normalization()).eval(), Contract(), "tiny", {}), num_samples=1, num_steps=1)


def expected(row: Mode, past: int) -> tuple[np.ndarray, np.ndarray]:
    """``(T,)`` and ``(T, K)``: token by token, as the row's attributes are documented."""
    T, keypoints = past + 1 + H, K if row.has_motion else 0
    action, motion = np.zeros(T, bool), np.zeros((T, keypoints), bool)
    for t in range(T):
        is_prefix = row.gives_prefix and t <= past + PREFIX
        action[t] = row.is_target_action and t > past and not is_prefix
        for k in range(keypoints):
            is_given = row.gives_keypoints and t <= past and SEEN[k]
            motion[t, k] = row.is_target_motion and not is_given
    return action, motion


@pytest.mark.parametrize("name", ROWS)
def test_policy_and_batches_have_one_mask(policy, name):
    row, o = ROWS[name], scene()
    past, prefix = PAST * row.gives_history, PREFIX * row.gives_prefix
    task = policy.encode_task(o, reference(K))
    chunk = policy.predict(o, task).chunk
    state = KeypointState(task.keypoints, SEEN)
    whole = (chunk,) if not row.is_target_action else ()
    leading = (replace(chunk, poses=chunk.poses[:prefix], gripper=chunk.gripper[:prefix]),) if prefix else whole
    states = (state,) * past if row.gives_keypoints else ()
    given = {
        "chunks": leading,
        "points": np.repeat(task.keypoints[None], H + 1, 0) if name == "inverse" else None,
        "tracked": state if row.gives_keypoints else None,
        "history": History(np.repeat(o.T_cam_ee[None], past, 0), np.zeros(past), states) if past else None,
    }
    tokens = Query(policy.perceive(o), task, row, **given).tokens(policy.model.config, Normalization())
    is_known = torch.from_numpy(SEEN) if row.gives_keypoints else None
    mask = row.pattern(2, past + 1 + H, K, prefix=prefix, history=past, is_known=is_known)
    action, motion = expected(row, past)
    for b in range(2):
        assert np.array_equal(mask.action[b], action) and np.array_equal(mask.motion[b], motion)
    assert np.array_equal(tokens["is_target_action"], action) and np.array_equal(tokens["is_target_motion"], motion)


def test_every_source_of_a_task_has_a_row(policy, tmp_path):
    o = scene()
    shown = policy.encode_task(o, reference(K))
    save_prompt(tmp_path / "p.safetensors", Prompt(shown.tokens, policy.checkpoint_id))
    ends = ReferenceMotion(tuple(w[[0, -1]] for w in reference(K).waypoints))
    tasks = {
        "reference": shown,
        "goal": policy.encode_task(o, ends),
        "instruction": policy.encode_instruction("put it away"),
        "prompt": policy.load_prompt(tmp_path / "p.safetensors"),
    }
    assert {row.task for row in MODES.values()} == set(TASK_SOURCES) == set(tasks)
    for row in MODES.values():
        task = tasks[row.task]
        assert task.tokens.shape == shown.tokens.shape and (len(task.keypoints) or not row.has_motion)
        assert policy.predict(o, task).chunk.poses.shape == (H, 4, 4)


@pytest.mark.parametrize("name", ["prefix", "history"])
def test_what_a_row_does_not_give_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: 2, must be 0 in a mode without it"):
        MODES["joint"].pattern(1, 1 + H, K, **{name: 2})
    assert MODES["dynamics"].giving(prefix=True) == MODES["dynamics"], "all of its actions are given"
    assert MODES["control"].giving(keypoints=True) == MODES["control"], "it has no motion tokens"


def test_the_page_has_every_row():
    page = (Path(__file__).resolve().parents[4] / "doc/concepts/modes.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:6] for line in page.splitlines() if line.startswith("| `")}
    for name, row in MODES.items():
        motion = ("target" if row.is_target_motion else "given") if row.has_motion else "absent"
        given = ", ".join(n for n in ("keypoints", "prefix", "history") if getattr(row, f"gives_{n}"))
        actions = "target" if row.is_target_action else "given"
        assert [cell.strip() for cell in rows[f"`{name}`"]] == [actions, motion, given, row.task]
