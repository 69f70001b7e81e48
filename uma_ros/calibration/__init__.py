"""Camera extrinsics: calibration files, hand-eye calibration, still images from bags."""
