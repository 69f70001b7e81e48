from dataclasses import dataclass
@dataclass(frozen=True)
class Transforms:
    depth_noise: float = 0.0
def transformed(batch, transforms, norm, rng):
    return batch
