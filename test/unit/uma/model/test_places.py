"""Position features: exact at their wavelengths, and sharp where coordinates are blunt."""

import torch

from uma.model.places import OCTAVES, PLACE_FEATURES, WAVELENGTH, features


def test_features_repeat_after_their_wavelength():
    place = torch.tensor([[0.1, -0.2, 0.3]], dtype=torch.float64)
    plain = features(place)
    assert plain.shape == (1, PLACE_FEATURES)
    moved = features(place + torch.tensor([WAVELENGTH / 2, 0.0, 0.0], dtype=torch.float64))
    same = torch.isclose(plain, moved, atol=1e-9)[0]
    # Half of the longest wavelength changes the longest wave of x alone: one sine and one cosine.
    assert (~same).sum() == 2 and not same[0] and not same[PLACE_FEATURES // 2]
    assert torch.allclose(plain[:, 0], torch.sin(place[:, 0] * 2 * torch.pi / WAVELENGTH))


def test_a_centimetre_is_a_large_step():
    apart = (features(torch.tensor([0.2, 0.1, 0.3])) - features(torch.tensor([0.21, 0.1, 0.3]))).norm()
    shortest = WAVELENGTH / 2 ** (OCTAVES - 1)
    assert apart > 2 * torch.pi * 0.01 / shortest * 0.9
