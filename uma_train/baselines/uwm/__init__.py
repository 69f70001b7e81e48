"""UWM: one diffusion transformer over actions and future images, with a noise step of each (arXiv 2504.02792)."""
