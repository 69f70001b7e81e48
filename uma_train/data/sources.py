from dataclasses import replace
from uma_train.data.episode import list_episodes, load_episode
from uma_train.data.windows import Windows, measure_normalization
class Mixture:
    def __init__(self, windows): self.windows = windows
    @property
    def episode_count(self): return len(self.windows.episodes)
    def __len__(self): return len(self.windows)
    def draw(self, *a, history=0, vary_keypoints=False, with_image=False, **k): return self.windows.draw(*a, **k)
def open_sources(data, held_out, sampling):
    eps = [load_episode(p) for d in data for p in list_episodes(d)]
    held = min(held_out, len(eps)//5 or 1) if held_out else 0
    tr = eps[:len(eps)-held]
    return Mixture(Windows(tr, sampling=sampling)), Mixture(Windows(eps[-held:] if held else eps[:1], first_is_initial=1.0, sampling=replace(sampling, pinned=0.0, to_the_end=1.0))), measure_normalization(tr)
