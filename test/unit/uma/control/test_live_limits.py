"""A speed limit that is lowered while the arm moves."""

from dataclasses import replace

import numpy as np
import pytest

from uma.control.safety import SafetyFilter, SafetySettings
from uma.geometry.se3 import make_pose

DT = 1.0 / 125.0


@pytest.mark.parametrize("factor", [0.5, 0.05])
def test_lowered_limit_is_reached_within_acceleration_and_jerk(factor):
    settings = SafetySettings(
        workspace_min=[-2.0] * 3, workspace_max=[2.0] * 3, ramp_s=0.0, max_lead_m=0.5, max_lead_rad=1.5
    )
    filter = SafetyFilter(settings)
    pose = make_pose(np.eye(3), np.array([-1.5, 1.0, 0.5]))
    filter.reset(pose)
    track = [pose[:3, 3]]
    for i in range(300):
        if i == 100:
            filter.settings = replace(settings, max_step_m=settings.max_step_m * factor)
        x = min(-1.5 + 1.1 * i * DT, track[-1][0] + 0.3)
        track.append(filter.step(make_pose(np.eye(3), np.array([x, 1.0, 0.5])), filter.pose, DT).pose[:3, 3])
    v = np.diff(np.stack(track), axis=0) / DT
    a, speed = np.diff(v, axis=0) / DT, np.linalg.norm(v, axis=1)
    assert speed[99] > 0.8 * settings.max_speed  # else nothing was lowered while it moved
    assert np.linalg.norm(a, axis=1).max() <= settings.max_acceleration * 1.001
    assert np.linalg.norm(np.diff(a, axis=0) / DT, axis=1).max() <= settings.max_jerk * 1.001
    assert speed[-100:].max() <= settings.max_speed * factor * 1.001
    assert speed[-1] > 0.5 * settings.max_speed * factor
