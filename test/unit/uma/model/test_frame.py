"""The policy frame (`uma.model.frame`): established alike in training and deployment, and refused where it cannot
be."""

import dataclasses

import numpy as np
import pytest
import torch
from scenes import reference, scene

from uma.checkpoint.bundle import Bundle, Contract, load_bundle
from uma.geometry import se3
from uma.model.config import tiny
from uma.model.frame import PolicyFrame, check_support, nominal, table_frame
from uma.model.inputs import Normalization
from uma.model.percept import perceive
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.modes import MODES
from uma.policy.query import Query
from uma.types import InputError, ReferenceMotion
from uma_sim.scene import CAMERAS, camera_at
from uma_sim.tasks import make_station
from uma_train.data.episode import Episode, EpisodeError, quantize
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.windows import Windows

FLOOR = np.array([0.0, -0.8, -0.6, 0.8])
"""The table of `scenes.scene`."""
T_BASE_CAM = se3.make_pose(np.array([[1.0, 0, 0], [0, -0.6, 0.8], [0, -0.8, -0.6]]), np.array([0.3, -0.4, 0.8]))
"""A camera for which that table is level, in the base frame."""
ELSEWHERE = nominal(T_BASE_CAM @ se3.make_pose(se3.exp(np.array([0.1, 0.2, -0.1])), np.array([0.1, 0.05, -0.1])))
FRAMES = {"camera": PolicyFrame(), "camera_nominal": ELSEWHERE, "table": PolicyFrame("table")}


def policy_in(frame: PolicyFrame) -> Policy:
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    return Policy(Bundle(model.eval(), Contract(policy_frame=frame), "tiny", {}), num_samples=2, num_steps=2)


def seen(seed: int = 0):
    return dataclasses.replace(scene(seed), T_base_cam=T_BASE_CAM)


def test_a_table_frame_stands_upright_on_the_plane():
    T = table_frame(FLOOR)
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3)) and np.linalg.det(T[:3, :3]) > 0
    assert np.allclose(T[2, :3], FLOOR[:3]), "z is the normal"
    origin = se3.invert(T)[:3, 3]
    assert abs(origin @ FLOOR[:3] + FLOOR[3]) < 1e-9 and np.allclose(origin[:2], 0), (
        "the origin lies where the camera looks"
    )
    assert T[0, :3] @ [0, 0, 1] > 0.5 and abs(T[1, :3] @ [0, 0, 1]) < 1e-9, "x is the camera's heading"
    straight_down = table_frame(np.array([0.0, 0.0, -1.0, 0.7]))
    assert np.allclose(straight_down[0, :3], [0, -1, 0]), "seen from above, the image's upward direction is ahead"


@pytest.mark.parametrize("place", CAMERAS)
def test_the_simulated_table_is_found_from_every_camera(place):
    station = make_station(3, "insertion", T_base_cam=camera_at(place, 3))
    o = station.observe()
    percept = perceive(o, tiny(), PolicyFrame("table"))
    T_base_table = station.T_base_cam @ se3.invert(percept.T_frame_cam)
    assert np.degrees(np.arccos(T_base_table[2, 2])) < 0.5 and abs(T_base_table[2, 3]) < 0.004
    assert np.allclose(percept.points.xyz[:, 2], percept.points.height, atol=2e-3), "height is the third coordinate"
    unknown = dataclasses.replace(o, T_base_cam=None)
    assert np.array_equal(perceive(unknown, tiny(), PolicyFrame("table")).T_frame_cam, percept.T_frame_cam)
    station.close()


@pytest.mark.parametrize("name", FRAMES)
def test_everything_goes_there_and_back(name):
    policy, o = policy_in(FRAMES[name]), seen()
    percept = policy.perceive(o)
    assert np.allclose(percept.T_frame_ee, percept.T_frame_cam @ o.T_cam_ee)
    plain = perceive(o, tiny(), PolicyFrame()).points
    assert np.allclose(percept.points.xyz, percept.positions(plain.xyz), atol=1e-6)
    assert np.array_equal(percept.points.height, plain.height) and np.array_equal(percept.points.rgb, plain.rgb)
    task = policy.encode_task(o, reference())
    given = policy.predict(o, task).chunk
    assert given.policy_frame == name and given.frame == o.camera.frame
    tokens = Query(percept, task, MODES["dynamics"], (given,)).tokens(tiny(), Normalization())
    poses, gripper = (
        policy.predict(
            o, task, prefix=dataclasses.replace(given, poses=given.poses[:5], gripper=given.gripper[:5])
        ).chunk.poses,
        given.gripper,
    )
    assert np.allclose(poses[:5], given.poses[:5]) and tokens["action"].shape == (1, 17, 10)
    still = np.repeat(task.keypoints[None], 17, 0)
    given_motion = Query(percept, task, MODES["inverse"], points=still).tokens(tiny(), Normalization())
    back = percept.positions_cam(given_motion["motion"] * Normalization().local_scale + percept.T_frame_ee[:3, 3])
    assert np.allclose(back, still, atol=1e-6) and gripper.shape == (16,)


def test_nominal_frame_at_the_camera_is_the_cameras():
    o = seen()
    a, b = policy_in(PolicyFrame()), policy_in(nominal(T_BASE_CAM))
    first, second = (p.predict(o, p.encode_task(o, reference()), with_motion=True) for p in (a, b))
    assert np.allclose(first.chunk.poses, second.chunk.poses, atol=1e-5)
    assert np.allclose(first.motion.points, second.motion.points, atol=1e-5)
    elsewhere = policy_in(ELSEWHERE)
    assert not np.allclose(
        first.chunk.poses, elsewhere.predict(o, elsewhere.encode_task(o, reference())).chunk.poses, atol=1e-3
    )


def an_episode(**meta) -> Episode:
    """A scene that rests while its points and the hand move along."""
    o, steps = seen(), 24
    frames = np.arange(0, steps, 2, dtype=np.int32)
    percept = perceive(o, tiny(), PolicyFrame())
    travel = np.linspace(0, 1, steps + 1)[:, None] ** 2 * np.array([0.1, -0.2, 0.15])
    poses = np.repeat(o.T_cam_ee[None], steps + 1, 0)
    poses[:, :3, 3] += travel
    start = np.array([0.0, 0.02, 0.95]) + np.random.default_rng(0).normal(0, 0.03, (16, 3))
    return Episode(
        *(np.repeat(part[None], len(frames), 0) for part in quantize(percept.points)),
        frame_step=frames,
        pose=poses[:-1].astype(np.float32),
        gripper=np.full(steps, o.gripper, np.float32),
        target_pose=poses[1:].astype(np.float32),
        target_gripper=np.full(steps, 1.0, np.float32),
        tracks=(start[None] + travel[:-1, None]).astype(np.float32),
        static=np.zeros((0, 3), np.float32),
        meta=meta,
    )


@pytest.mark.parametrize("name", FRAMES)
def test_a_window_is_what_deployment_sees(name):
    """Training and deployment give the model the same inputs in every frame."""
    frame, o = FRAMES[name], seen()
    e = an_episode(T_base_cam=T_BASE_CAM.tolist())
    sampling = ReferenceSampling(min_keypoints=4, max_keypoints=4, to_the_end=1.0, pinned=0.0)
    batch, plain = (
        Windows([e], first_is_initial=1.0, sampling=sampling, frame=f).draw(
            1, 4, Normalization(), np.random.default_rng(0), np.array([0])
        )
        for f in (frame, PolicyFrame())
    )
    percept = policy_in(frame).perceive(o)
    assert np.allclose(batch.points.xyz[0], percept.points.xyz, atol=1.5e-3)
    assert np.allclose(batch.ee.pose[0], percept.T_frame_ee, atol=1.5e-3)
    valid = plain.reference.is_valid[0].numpy()
    in_camera = plain.reference.position[0].numpy()[valid].astype(np.float64)
    told = percept.reference(ReferenceMotion(tuple(p[None] for p in in_camera[:8]), frame=o.camera.frame))
    assert np.allclose(batch.reference.position[0].numpy()[valid][:8], np.concatenate(told.waypoints), atol=2e-3)
    scale, origin = Normalization().local_scale, o.T_cam_ee[:3, 3]
    motion_cam = plain.grid.motion[0].numpy() * scale + origin
    motion = (percept.positions(motion_cam) - percept.T_frame_ee[:3, 3]) / scale
    assert np.allclose(batch.grid.motion[0], motion, atol=2e-2)
    if name != "camera":
        assert not np.allclose(batch.points.xyz, plain.points.xyz, atol=0.02)


@pytest.mark.parametrize("name", FRAMES)
def test_a_sibling_specifies_a_task_in_its_own_frame(name):
    """Two episodes of one instruction: o_0 and reference are the sibling's, everything else is the window's."""
    shift = np.eye(4)
    shift[:3, 3] = 0.1, 0.05, 0.0
    metas = [{"T_base_cam": T.tolist(), "text": "lift it"} for T in (T_BASE_CAM, shift @ T_BASE_CAM)]
    made = [dataclasses.replace(an_episode(**meta), rgb=e_rgb) for meta, e_rgb in zip(metas, colours(), strict=True)]
    both, own = (
        Windows(made, first_is_initial=1.0, frame=FRAMES[name], siblings=share).draw(
            1, 4, Normalization(), np.random.default_rng(0), np.array([0])
        )
        for share in (1.0, 0.0)
    )
    assert torch.equal(both.points.rgb, own.points.rgb) and np.allclose(both.T_cam_ee, own.T_cam_ee)
    assert not torch.equal(both.initial_points.rgb, own.initial_points.rgb)
    moved = (both.initial_points.xyz - own.initial_points.xyz)[0].double()
    of_base = np.linalg.norm(shift[:3, 3]) if name == "camera_nominal" else 0.0
    assert np.allclose(moved.norm(dim=-1), of_base, atol=2e-3)


def colours() -> list[np.ndarray]:
    """Return the colours of two episodes, dark and bright."""
    rgb = an_episode().rgb
    return [np.full_like(rgb, 50), np.full_like(rgb, 200)]


@pytest.mark.parametrize(
    ("frame", "T_base_cam", "plane", "message"),
    [
        (ELSEWHERE, None, FLOOR, "T_base_cam: unknown, this checkpoint uses the frame of its training camera"),
        (PolicyFrame("table"), None, None, "plane: none found"),
        (
            PolicyFrame("table"),
            None,
            np.array([0.0, 0.2, -0.98, 1.0]),
            r"plane: 10\d degrees from the image's upward direction",
        ),
        (
            PolicyFrame("table"),
            T_BASE_CAM,
            np.array([0.0, -0.6, -0.8, 0.8]),
            "plane: 16 degrees from the base's vertical, must be at most 15",
        ),
        (PolicyFrame("table"), None, np.array([0.0, -1.0, 0.02, 0.8]), "degrees above, must be at least 5"),
    ],
)
def test_a_frame_that_cannot_be_established_is_refused(frame, T_base_cam, plane, message):
    with pytest.raises(InputError, match=message):
        frame.from_camera(plane, T_base_cam)


def test_small_or_distant_plane_is_refused():
    rng = np.random.default_rng(0)
    table = np.stack([rng.uniform(-0.5, 0.5, 500), rng.uniform(-0.4, 0.4, 500), np.full(500, 1.0)], -1)
    plane, hand = np.array([0.0, 0.0, -1.0, 1.0]), np.array([0.1, 0.0, 0.7])
    check_support(table, plane, hand)
    check_support(table, plane, None)
    with pytest.raises(InputError, match="its points spread by 0.0"):
        check_support(table * [0.1, 0.1, 1.0], plane, hand)
    with pytest.raises(InputError, match="the end effector is -0.50 m above"):
        check_support(table, plane, hand + [0, 0, 0.8])
    with pytest.raises(InputError, match=r"1\.\d\d m from the end effector at the nearest, must be at most 0.6"):
        check_support(table, plane, hand + [1.8, 0, 0])
    with pytest.raises(InputError, match="0 of 500 points lie on it"):
        check_support(table + [0, 0, 0.3], plane, hand)


def test_frame_that_needs_a_calibration_refuses_its_lack():
    e = an_episode()
    Windows([e], frame=PolicyFrame("table")).draw(1, 0, Normalization(), np.random.default_rng(0))
    with pytest.raises(EpisodeError, match="T_base_cam: unknown"):
        Windows([e], frame=ELSEWHERE).draw(1, 0, Normalization(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("floor", ()), "policy_frame.kind: 'floor', must be one of"),
        (("camera_nominal", ()), "policy_frame.T_base_nominal: 0 numbers, must be 16"),
        (("table", (1.0,) * 16), "policy_frame.T_base_nominal: 16 numbers, must be 0"),
    ],
)
def test_a_frame_that_is_none_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PolicyFrame(*values)


def test_the_shipped_bundle_names_the_station_s_nominal_camera():
    from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at

    frame = load_bundle("models/uma-small").contract.policy_frame
    assert frame.kind == "camera_nominal"
    assert np.allclose(np.reshape(frame.T_base_nominal, (4, 4)), look_at(CAMERA_POSITION, CAMERA_TARGET), atol=1e-6)
