"""Images that do not change."""

import pytest

from uma.types import InputError
from uma_ros.policy.frozen import FrozenImage


def test_the_same_image_for_too_long_is_refused_until_it_changes():
    frozen, still, other = FrozenImage(), bytes(1000), bytes([1]) + bytes(999)
    frozen.check(still, 1.0, 10.0)
    frozen.check(still, 1.0, 11.0)
    with pytest.raises(InputError, match="the same image for 1.5 s under new stamps, limit 1 s"):
        frozen.check(still, 1.0, 11.5)
    frozen.check(other, 1.0, 11.6)
    frozen.check(other, 0.0, 99.0)
