"""The robot's description: names, kinematics and shapes against the simulated robot, and the frames of its links."""

import xml.etree.ElementTree as xml
from dataclasses import replace

import mujoco
import numpy as np
import pinocchio
import pytest
from builtin_interfaces.msg import Time
from harness import ROOT
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState

from uma.geometry import fr3
from uma.geometry.se3 import apply, from_quaternion, invert, make_pose, rotation_angle
from uma.robot import DROID, RobotConfig, ToolMount
from uma.types import InputError
from uma_ros.commands.inspect import show
from uma_ros.messages.convert import pose_from
from uma_ros.messages.description.frames import JointFrames, joint_positions
from uma_ros.messages.description.robot import fr3_2f85
from uma_ros.messages.description.tree import Box, Cylinder, Sphere
from uma_ros.messages.description.urdf import mesh_folder, roll_pitch_yaw, urdf
from uma_sim.robot import gripper
from uma_sim.robot.arm import arm_spec

TREE = fr3_2f85()
FINGERS = {"knuckle": "driver", "inner_knuckle": "spring", "finger_tip": "follower"}
BODIES = {
    **{f"fr3_link{i}": f"fr3_link{i}" for i in range(8)},
    "robotiq_85_base_link": "gripper/base",
    **{f"robotiq_85_{s}_{link}_link": f"gripper/{s}_{b}" for s in ("left", "right") for link, b in FINGERS.items()},
}
"""Link -> body of the simulated robot."""


class Simulated:
    """The simulated robot at given joint positions, without physics."""

    def __init__(self):
        spec = arm_spec()
        gripper.attach(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)

    def poses(self, q, angle):
        """Link -> (4, 4) pose in the base."""
        values = {f"fr3_joint{i + 1}": v for i, v in enumerate(q)}
        for side in ("left", "right"):
            values |= {f"gripper/{side}_{b}": s * angle for b, s in (("driver", 1), ("spring", 1), ("follower", -1))}
        for name, value in values.items():
            self.data.qpos[self.model.joint(name).qposadr[0]] = value
        mujoco.mj_kinematics(self.model, self.data)
        bodies = {link: self.data.body(body) for link, body in BODIES.items()}
        return {link: make_pose(b.xmat.reshape(3, 3), b.xpos) for link, b in bodies.items()}

    def geoms(self, body):
        """Geoms of a body, each with its (4, 4) pose in it."""
        b = self.model.body(body)
        for i in range(b.geomadr[0], b.geomadr[0] + b.geomnum[0]):
            g = self.model.geom(i)
            yield g, from_quaternion(g.pos, np.roll(g.quat, -1))


@pytest.fixture(scope="module")
def simulated():
    return Simulated()


class Parsed:
    """A URDF as Pinocchio reads it."""

    def __init__(self, text):
        self.model = pinocchio.buildModelFromXML(text)
        self.data = self.model.createData()
        elements = xml.fromstring(text).findall("joint")
        self.mimics = {e.get("name"): e.find("mimic") for e in elements if e.find("mimic") is not None}

    def poses(self, positions):
        """Link -> (4, 4) pose in the root."""
        q = pinocchio.neutral(self.model)
        for i, name in enumerate(self.model.names[1:], 1):
            m = self.mimics.get(name)
            value = positions[name] if m is None else float(m.get("multiplier")) * positions[m.get("joint")]
            q[self.model.joints[i].idx_q] = value
        pinocchio.framesForwardKinematics(self.model, self.data, q)
        return {f.name: M.homogeneous for f, M in zip(self.model.frames, self.data.oMf)}


def draw(rng):
    """Joint positions (7,) and the angle of the knuckle, rad."""
    return rng.uniform(fr3.LOWER, fr3.UPPER), float(rng.uniform(0.0, DROID.gripper_closed))


def named(q, angle, prefix=""):
    return {prefix + n: float(v) for n, v in zip((*fr3.JOINT_NAMES, DROID.gripper_joint), (*q, angle))}


def test_the_shipped_file_is_the_robot_of_the_configuration():
    text = (ROOT / "config/fr3_2f85.urdf").read_text()
    assert text.strip() == show("description"), "regenerate it: uma inspect description > config/fr3_2f85.urdf"


@pytest.mark.parametrize("prefix", ["", "left_"])
def test_kinematics_are_those_of_the_simulated_robot(simulated, prefix):
    parsed, rng = Parsed(urdf(fr3_2f85(prefix=prefix))), np.random.default_rng(0)
    for _ in range(20):
        q, angle = draw(rng)
        found, wanted = parsed.poses(named(q, angle, prefix)), simulated.poses(q, angle)
        for link, T in wanted.items():
            assert np.abs(found[prefix + link][:3, 3] - T[:3, 3]).max() < 1e-6, link
            assert rotation_angle(found[prefix + link][:3, :3], T[:3, :3]) < 1e-6, link
        assert np.allclose(found[f"{prefix}fr3_link8"], fr3.forward(q), atol=1e-9)


def test_closed_pads_meet_at_the_end_effector(simulated):
    mount = ToolMount((0.01, 0.0, 0.17), tuple(Rotation.from_euler("z", 0.7).as_quat()))
    for config in (DROID, replace(DROID, T_flange_ee=mount)):
        poses = Parsed(urdf(fr3_2f85(config))).poses(named(DROID.home, config.gripper_closed))
        pads = [poses[f"robotiq_85_{side}_finger_tip_link"] @ [0, -0.0037, 0.02577, 1] for side in ("left", "right")]
        T_ee = poses["fr3_link8"] @ config.T_flange_ee.matrix()
        assert np.linalg.norm((pads[0] + pads[1])[:3] / 2 - T_ee[:3, 3]) < 0.006
        across = invert(T_ee)[:3, :3] @ (pads[1] - pads[0])[:3]
        assert abs(across[0]) < 1e-9 and abs(across[2]) < 1e-9 and 0.0 < across[1] < 0.009, "half a pad each, along y"


def test_the_gripper_has_the_shapes_of_the_simulated_one(simulated):
    kind = mujoco.mjtGeom
    kinds = {Box: {kind.mjGEOM_BOX}, Cylinder: {kind.mjGEOM_CYLINDER, kind.mjGEOM_CAPSULE}}
    compared = 0
    for link in TREE.links:
        if not link.name.startswith("robotiq"):
            continue
        geoms = list(simulated.geoms(BODIES[link.name]))
        assert len(geoms) == len(link.solids)
        for (geom, T), solid in zip(geoms, link.solids):
            shape = solid.shape
            size = shape.size if isinstance(shape, Box) else (2 * shape.radius, shape.length)
            assert int(geom.type[0]) in kinds[type(shape)] and np.allclose(2 * geom.size[: len(size)], size, atol=1e-6)
            assert np.allclose(T[:3, 3], solid.T_link_shape[:3, 3], atol=1e-6), link.name
            assert abs(T[:3, 2] @ solid.T_link_shape[:3, 2]) > 1 - 1e-6, link.name
            compared += 1
    assert compared == 5 + 2 * (2 + 2 + 3)


def outside(points, solid):
    """Distance of points (N, 3) of a link from a solid, m; 0 inside."""
    p, shape = apply(invert(solid.T_link_shape), points), solid.shape
    if isinstance(shape, Sphere):
        return np.maximum(np.linalg.norm(p, axis=1) - shape.radius, 0.0)
    if isinstance(shape, Box):
        return np.linalg.norm(np.maximum(np.abs(p) - np.array(shape.size) / 2, 0.0), axis=1)
    beyond = np.stack([np.hypot(p[:, 0], p[:, 1]) - shape.radius, np.abs(p[:, 2]) - shape.length / 2], -1)
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=1)


def corners(solid):
    """(8, 3) corners of the box about a solid, in the link."""
    shape = solid.shape
    size = {
        Box: lambda: shape.size,
        Cylinder: lambda: (2 * shape.radius, 2 * shape.radius, shape.length),
        Sphere: lambda: (2 * shape.radius,) * 3,
    }[type(shape)]()
    signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3)
    return apply(solid.T_link_shape, signs * np.array(size))


def test_the_arm_s_shapes_fit_its_meshes(simulated):
    for link in TREE.links[:8]:
        points = []
        for geom, T in simulated.geoms(link.name):
            mesh = simulated.model.mesh(int(geom.dataid[0]))
            start, count = int(mesh.vertadr[0]), int(mesh.vertnum[0])
            points.append(apply(T, simulated.model.mesh_vert[start : start + count]))
        points = np.concatenate(points)
        away = np.min([outside(points, solid) for solid in link.solids], axis=0)
        assert away.max() < 0.020 and np.percentile(away, 90) < 0.012, link.name
        drawn = np.concatenate([corners(solid) for solid in link.solids])
        assert (drawn.max(0) < points.max(0) + 0.025).all() and (drawn.min(0) > points.min(0) - 0.025).all(), link.name


def test_a_prefix_stands_before_every_name_once():
    names = lambda tree: [x.name for x in (*tree.links, *tree.joints)]  # noqa: E731
    left = RobotConfig("left_fr3_link0", "left_fr3_link8", gripper_joint=f"left_{DROID.gripper_joint}")
    assert names(fr3_2f85(prefix="left_")) == names(fr3_2f85(left, "left_")) == [f"left_{n}" for n in names(TREE)]
    assert len(set(names(TREE))) == len(names(TREE))


def test_names_of_another_robot_s_file_are_kept():
    tree = fr3_2f85(RobotConfig("base", "tool0", gripper_joint="finger"))
    assert tree.root == "base" and tree.arm[-1].child == tree.gripper[0].parent == "tool0"
    assert {joint.source for joint in tree.gripper} == {"", "finger"}


def test_meshes_are_drawn_where_they_are(tmp_path):
    (tmp_path / "link0_vis.dae").touch()
    root = xml.fromstring(urdf(TREE, tmp_path))
    drawn = {link.get("name"): link.find("visual/geometry/mesh") for link in root.findall("link")}
    assert drawn["fr3_link0"].get("filename") == (tmp_path / "link0_vis.dae").as_uri()
    assert [name for name, mesh in drawn.items() if mesh is not None] == ["fr3_link0"]
    assert root.find("link[@name='fr3_link1']/visual/geometry/cylinder") is not None
    assert not root.findall("link/collision/geometry/mesh") and "mesh" not in urdf(TREE)
    assert all((mesh_folder() / link.mesh).is_file() for link in TREE.links if link.mesh)


def test_angles_of_a_rotation_give_it_back():
    turns = [*Rotation.random(50, random_state=0).as_matrix()]
    turns += [Rotation.from_euler("xyz", (0.4, s * np.pi / 2, 0.9)).as_matrix() for s in (1, -1)]
    for R in turns:
        assert np.allclose(Rotation.from_euler("xyz", roll_pitch_yaw(R)).as_matrix(), R, atol=1e-7)


# -- frames of the links -----------------------------------------------------------------------------------------------


def chained(*messages):
    """Link -> (4, 4) pose in the base, from the transforms."""
    known = {DROID.base_frame: np.eye(4)}
    for message in messages:
        for t in message.transforms:
            known[t.child_frame_id] = known[t.header.frame_id] @ pose_from(t.transform, "transform")
    return known


def test_frames_are_those_of_the_simulated_robot(simulated):
    arm, hand, rng = JointFrames(TREE.arm), JointFrames(TREE.gripper), np.random.default_rng(1)
    for i in range(1, 20):
        q, angle = draw(rng)
        positions, stamp = named(q, angle), Time(sec=i, nanosec=5)
        messages = arm.update(positions, stamp, i), hand.update(positions, stamp, i)
        assert {t.header.stamp.sec for m in messages for t in m.transforms} == {i}
        found = chained(*messages)
        for link, T in simulated.poses(q, angle).items():
            assert np.allclose(found[link], T, atol=1e-6), link


def test_frames_follow_news_at_a_limited_rate():
    hand, angle = JointFrames(TREE.gripper), {DROID.gripper_joint: 0.3}
    stamp = lambda i: Time(sec=1, nanosec=i)  # noqa: E731
    assert hand.is_due(0.0, 50.0)
    assert hand.update(named(DROID.home, 0.1), stamp(0), 0.0) is not None
    assert not hand.is_due(0.017, 50.0) and hand.is_due(0.019, 50.0)
    assert hand.update({"fr3_joint1": 0.0}, stamp(1), 1.0) is None, "nothing about the gripper"
    assert hand.update(angle, stamp(0), 1.0) is None, "tf2 refuses a repeated stamp"
    assert hand.is_due(0.5, 50.0), "nothing was published since"
    assert hand.update(angle, Time(sec=0, nanosec=9), 1.0) is not None, "an earlier stamp: a clock was set back"


def test_frames_wait_for_every_joint():
    arm = JointFrames(TREE.arm)
    first, second = named(DROID.home, 0.0), {}
    for name in ("fr3_joint6", "fr3_joint7"):
        second[name] = first.pop(name)
    assert arm.update(first, Time(sec=1), 0.0) is None and arm.missing == set(second)
    assert arm.update(second, Time(sec=2), 0.1) is not None and not arm.missing


@pytest.mark.parametrize(
    "change, words",
    [
        ({"position": [0.0] * 3}, "position: 3 values for 8 names"),
        ({"position": [0.0] * 7 + [float("nan")]}, r"position\[7\]: nan rad for robotiq_85_left_knuckle_joint"),
        ({"position": [9.0] + [0.0] * 7}, r"position\[0\]: 9.0 rad for fr3_joint1, must be finite and within 6.28"),
        ({"stamp": Time()}, "header.stamp: 0.0 s, must be over 0"),
    ],
)
def test_a_wrong_joint_state_is_refused_by_field(change, words):
    msg = JointState(name=[*fr3.JOINT_NAMES, DROID.gripper_joint], position=change.get("position", [0.1] * 8))
    msg.header.stamp = change.get("stamp", Time(sec=3))
    with pytest.raises(InputError, match=words):
        joint_positions(msg, named(DROID.home, 0.0))
    assert joint_positions(msg, ()) == {}, "another device's message"
