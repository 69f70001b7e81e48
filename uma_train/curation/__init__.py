"""From RGB-D video to metric 3D tracks (paper B.1), without learned weights by default."""
