"""Where the camera stands: calibration files, hand-eye solution, stills of a board."""
