"""No pose is commanded that the arm could only reach beyond the limits of its joints."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uma.control.reach import Arm
from uma.control.safety import SafetyFilter, SafetySettings
from uma.geometry import fr3
from uma.geometry.se3 import invert, make_pose, rotation_angle

DT = 0.008
T_EE_FLANGE = invert(make_pose(Rotation.from_rotvec([0.0, 0.0, -np.pi / 4]).as_matrix(), np.array([0.0, 0.0, 0.1597])))
WIDE = {"workspace_min": [-1.0, -1.0, -0.5], "workspace_max": [1.0, 1.0, 1.2], "ramp_s": 0.0}
REST = fr3.REST + [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8]


def ee(q):
    return fr3.forward(np.asarray(q)) @ invert(T_EE_FLANGE)


def started(q=REST, **changes):
    f = SafetyFilter(SafetySettings(**{**WIDE, "joint_margin": 0.1, **changes}))
    f.reset(ee(q))
    return f


def go(f, target, steps, q=REST, joints=True):
    """Verdicts of the same target, with an arm that is where it was sent."""
    verdicts = []
    for _ in range(steps):
        measured = (q if f.joints is None else f.joints) if joints else None
        verdicts.append(f.step(target, f.pose, DT, arm=Arm(T_EE_FLANGE, measured)))
    return verdicts


def inside(q, margin=0.1, room=1e-3):
    return (q > fr3.LOWER + margin - room).all() and (q < fr3.UPPER - margin + room).all()


def solved(f):
    """Return whether the filter's joints solve its pose."""
    error = fr3.pose_error(fr3.forward(f.joints), f.pose @ T_EE_FLANGE)
    return np.linalg.norm(error[:3]) < 1e-3 and np.linalg.norm(error[3:]) < 5e-3


def test_unreachable_target_is_held_and_the_next_followed():
    f, stretched = (
        started(max_lead_m=0.5, max_lead_rad=1.5),
        make_pose(ee(REST)[:3, :3], ee(REST)[:3, 3] + [0.45, 0.0, 0.0]),
    )
    verdicts = go(f, stretched, 100)
    assert all(v.hold_reason.startswith("joint limits: ") for v in verdicts) and f.counts["held: joint limits"] == 100
    assert np.allclose(f.pose, ee(REST)), "it never set off"
    near = ee(REST + [0.05, 0.05, 0.0, 0.1, 0.0, 0.0, 0.0])
    assert not any(v.hold_reason for v in go(f, near, 200)) and np.linalg.norm(f.pose[:3, 3] - near[:3, 3]) < 1e-3


@pytest.mark.parametrize(
    "joint, way, words", [(6, 1.0, "joint 7 would be at 2.9"), (6, -1.0, "joint 7 would be at -2.9")]
)
def test_joint_driven_to_its_limit_stops_before_it(joint, way, words):
    """At a speed at which braking takes some hundredths of a radian."""
    q = np.array(fr3.REST)
    limit = (fr3.UPPER if way > 0 else fr3.LOWER)[joint]
    q[joint] = limit - way * 0.6
    f = started(q, max_lead_m=0.5, max_lead_rad=1.5)
    held, speeds, before = [], [0.0], f.pose
    for i in range(400):
        goal = q.copy()
        goal[joint] += way * min(0.006 * i, 0.58)
        measured = q if f.joints is None else f.joints
        held.append(f.step(ee(goal), f.pose, DT, arm=Arm(T_EE_FLANGE, measured)).hold_reason)
        assert inside(f.joints) and solved(f), i
        speeds.append(
            np.linalg.norm(f.pose[:3, 3] - before[:3, 3]) / DT + rotation_angle(f.pose[:3, :3], before[:3, :3]) / DT
        )
        before = f.pose
    assert max(speeds) > 0.2 and speeds[-1] < 1e-6
    assert any(words in h for h in held), set(held)
    assert sum(bool(b) and not a for a, b in zip(held, held[1:])) <= 2, "it does not give way and brake by turns"
    assert fr3_room(f.joints)[joint] < 0.35, "it does not hold long before the limit either"


def fr3_room(q):
    return np.minimum(q - fr3.LOWER, fr3.UPPER - q)


@pytest.mark.parametrize("seed", range(6))
def test_random_targets_keep_joints_within_the_margin(seed):
    rng = np.random.default_rng(seed)
    margin = 0.15
    q0 = np.clip(fr3.REST + rng.normal(0, 0.4, 7), fr3.LOWER + margin + 0.05, fr3.UPPER - margin - 0.05)
    f = started(
        q0,
        joint_margin=margin,
        max_lead_m=0.5,
        max_lead_rad=1.5,
        collision=SafetySettings().collision.__class__(is_checked=False),
    )
    poses, held = [f.pose], 0
    for _ in range(12):
        goal = (
            ee(rng.uniform(fr3.LOWER, fr3.UPPER))
            if rng.random() < 0.3
            else ee(f.joints + rng.normal(0, 0.5, 7) if f.joints is not None else q0)
        )
        for _ in range(int(rng.integers(5, 60))):
            measured = (
                None
                if rng.random() < 0.1 and f.joints is not None
                else (q0 if f.joints is None else f.joints) + rng.normal(0, 1e-3, 7)
            )
            held += f.step(goal, f.pose, DT, arm=Arm(T_EE_FLANGE, measured)).hold_reason.startswith("joint limits")
            assert inside(f.joints, margin) and solved(f)
            poses.append(f.pose)
    assert held > 20 and np.abs(np.diff(np.stack(poses)[:, :3, 3], axis=0)).sum() > 0.05
    v = np.diff(np.stack(poses)[:, :3, 3], axis=0) / DT
    assert np.linalg.norm(np.diff(v, axis=0), axis=1).max() / DT <= f.settings.max_acceleration + 1e-3, (
        "braking for the joints keeps the limits too"
    )


def test_a_pose_out_of_reach_is_held_as_well():
    f = started(max_lead_m=0.5, max_lead_rad=1.5)
    target = ee(REST)
    for _ in range(200):  # ever further away: at some point there are no joints for it
        target[0, 3] = min(target[0, 3] + 0.004, 0.99)
        verdict = f.step(target, f.pose, DT, arm=Arm(T_EE_FLANGE, REST if f.joints is None else f.joints))
        assert solved(f) and inside(f.joints)
    assert verdict.hold_reason.startswith("joint limits") and f.pose[0, 3] < 0.9


def test_arm_beyond_the_margin_may_only_come_back():
    q = REST.copy()
    q[6] = fr3.UPPER[6] - 0.04
    f = started(q)
    further = go(f, ee(q + [0, 0, 0, 0, 0, 0, 0.03]), 50, q)
    assert "joint 7 would be at" in further[-1].hold_reason and f.joints[6] < q[6] + 1e-3
    back = go(f, ee(q - [0, 0, 0, 0, 0, 0, 0.3]), 200, q)
    assert not back[-1].hold_reason and f.joints[6] < fr3.UPPER[6] - 0.3
    again = go(f, ee(q), 200, q)
    assert again[-1].hold_reason and inside(f.joints), "once it is back, the margin holds"


def test_joints_that_contradict_the_pose_stop_the_arm():
    f = started()
    shifted = make_pose(np.eye(3), np.array([0.6, 0.0, 0.9]))  # as with the kinematics of another base
    verdict = f.step(ee(REST), f.pose, DT, arm=Arm(shifted, REST))
    assert "the measured joints do not fit the measured pose" in verdict.hold_reason and np.allclose(f.pose, ee(REST))


def test_when_the_joints_fall_silent_those_solved_last_go_on():
    f = started(max_lead_m=0.5, max_lead_rad=1.5)
    assert not go(f, ee(REST + 0.05), 20)[-1].hold_reason
    stretched = make_pose(ee(REST)[:3, :3], ee(REST)[:3, 3] + [0.45, 0.0, 0.0])
    assert go(f, stretched, 30, joints=False)[-1].hold_reason.startswith("joint limits") and solved(f)


def test_the_elbow_is_that_of_the_measured_joints():
    """A person has pushed the elbow aside, the hand stayed: the joints of the same pose are others now."""
    f = started()
    go(f, ee(REST), 5)
    T, pushed = fr3.forward(REST), REST.copy()
    for _ in range(200):
        _, J = fr3.jacobian(pushed)
        null = np.linalg.svd(J)[2][-1]
        pushed = fr3.solve(T, pushed + 0.004 * null * np.sign(null[2]), iterations=3, posture=0.0)[0]
    assert np.abs(pushed - REST).max() > 0.2
    for _ in range(100):
        f.step(ee(REST), f.pose, DT, arm=Arm(T_EE_FLANGE, pushed))
    assert np.abs(f.joints - pushed).max() < 0.02 and solved(f)


@pytest.mark.parametrize(
    "arm, changes",
    [(None, {}), (Arm(T_EE_FLANGE, None), {}), (Arm(T_EE_FLANGE, REST), {"joint_margin": 0.0})],
    ids=["no arm", "joints never heard", "switched off"],
)
def test_without_joints_nothing_changes(arm, changes):
    f, plain = started(**changes), started(joint_margin=0.0)
    stretched = make_pose(ee(REST)[:3, :3], ee(REST)[:3, 3] + [0.45, 0.0, 0.0])
    for _ in range(50):
        a, b = f.step(stretched, f.pose, DT, arm=arm), plain.step(stretched, plain.pose, DT)
        assert np.array_equal(a.pose, b.pose) and a.hold_reason == b.hold_reason
    assert f.joints is None


def test_a_motion_that_stays_inside_is_passed_as_without_it():
    f, plain = started(), started(joint_margin=0.0)
    for i in range(250):
        target = ee(REST + 0.2 * np.sin(0.02 * i))
        a, b = (
            f.step(target, f.pose, DT, arm=Arm(T_EE_FLANGE, REST if f.joints is None else f.joints)),
            plain.step(target, plain.pose, DT),
        )
        assert np.array_equal(a.pose, b.pose) and a.limited == b.limited and not a.hold_reason


def test_arm_is_kept_from_the_stretched_singularity():
    """There the joints turn fast for little motion, and a margin to their limits is no longer kept by braking."""

    def stretched(elbow):
        return np.array([0.0, 0.8, 0.0, elbow, 0.0, 1.6 + 0.3 * (elbow + 2.35), 0.8])

    def dexterity(q):
        return np.linalg.svd(fr3.jacobian(q)[1], compute_uv=False)[-1]

    q = stretched(-1.5)
    f = started(q, joint_margin=0.05, max_lead_m=0.5, max_lead_rad=1.5)
    held, least = [], 1.0
    for i in range(400):
        goal = ee(stretched(min(-1.5 + 0.004 * i, -0.4)))
        held.append(f.step(goal, f.pose, DT, arm=Arm(T_EE_FLANGE, q if f.joints is None else f.joints)).hold_reason)
        least = min(least, dexterity(f.joints))
        assert solved(f) and inside(f.joints, 0.05)
    assert dexterity(stretched(-0.5)) < 0.01 < 0.028 < least < 0.06
    assert "a singularity is near" in held[-1], held[-1]
    assert not go(f, ee(q), 300)[-1].hold_reason and np.linalg.norm(f.pose[:3, 3] - ee(q)[:3, 3]) < 1e-3
