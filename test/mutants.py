"""Breaks the mechanisms on purpose, one at a time in a copy of the tree, and sees whether the test that guards each fails as it must.

    python test/mutants.py              all of them
    python test/mutants.py --only NAME  those whose name holds NAME
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("uma", "uma_train", "uma_sim", "test", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """One deliberate defect.

    Attributes:
        name: the invariant and how it is broken.
        file: relative to the repository's root.
        old, new: text that occurs once, and what takes its place.
        test: the test that must fail, as pytest names it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


MODEL, INVARIANTS = "test/unit/test_model.py", "test/unit/test_invariants.py"

MUTANTS = (
    Mutant(
        "given tokens: they drift with the velocity",
        "uma/model/flow.py",
        "torch.where(m, a + b.to(a.dtype) / num_steps, g)",
        "a + b.to(a.dtype) / num_steps",
        f"{MODEL}::test_given_tokens_are_bit_identical_after_sampling[control]",
    ),
    Mutant(
        "given tokens: they start from noise",
        "uma/model/flow.py",
        "x = tuple(torch.where(m, n, g) for",
        "x = tuple(n for",
        f"{INVARIANTS}::test_given_tokens_are_clean_at_every_evaluation",
    ),
    Mutant(
        "padding: padded keypoints are attended to",
        "uma/model/uma.py",
        "valid = torch.cat([actions_valid, is_valid], 1)",
        "valid = torch.cat([actions_valid, torch.ones_like(is_valid)], 1)",
        f"{MODEL}::test_padded_keypoints_change_nothing",
    ),
    Mutant(
        "padding: padded waypoints are gathered",
        "uma/model/encoders.py",
        "self.gather.keys_values(gathered), reference.is_valid)",
        "self.gather.keys_values(gathered))",
        f"{MODEL}::test_task_depends_on_the_reference_but_not_on_its_padding_or_order",
    ),
    Mutant(
        "keypoint order: a token knows its place in the list",
        "uma/model/uma.py",
        "        is_target = torch.cat([mask.action[:, :, None], mask.motion], 2)\n",
        "        m = m + torch.arange(K)[:, None] * torch.linspace(-0.1, 0.1, m.shape[-1])\n        is_target = torch.cat([mask.action[:, :, None], mask.motion], 2)\n",
        f"{MODEL}::test_keypoint_permutation_permutes_the_motion",
    ),
    Mutant(
        "cached context: it is used up",
        "uma/model/uma.py",
        "return [block.cache(context) for block in self._all_blocks()]",
        "return [iter(block.cache(context)) for block in self._all_blocks()]",
        f"{INVARIANTS}::test_sampling_with_the_cached_context_equals_computing_it_at_every_step",
    ),
    Mutant(
        "cached context: it is altered in place",
        "uma/model/attention.py",
        "return self.out(attend(q, *keys_values, is_valid).transpose(1, 2).reshape(N, L, d))",
        "return self.out(attend(q, keys_values[0].mul_(1.1), keys_values[1], is_valid).transpose(1, 2).reshape(N, L, d))",
        f"{INVARIANTS}::test_sampling_with_the_cached_context_equals_computing_it_at_every_step",
    ),
    Mutant(
        "action-free: their placeholders are supervised",
        "uma/model/uma.py",
        "action_weight = action_weight * grid.is_supervised_action[:, None, None]",
        "pass",
        f"{MODEL}::test_action_free_samples_give_the_action_head_no_gradient",
    ),
    Mutant(
        "action-free: their placeholders are attended to",
        "uma/model/uma.py",
        "actions_valid = is_valid.new_ones(B, 1) if has_action is None else has_action[:, None]",
        "actions_valid = is_valid.new_ones(B, 1)",
        f"{MODEL}::test_action_free_samples_leave_the_action_head_without_gradient_and_are_not_moved_by_its_tokens",
    ),
    Mutant(
        "contrastive: its gradient reaches the observation encoder",
        "uma_train/objectives.py",
        "    z, group = [head(task)], [own]\n",
        "    z, group = [head(task + model.observation_encoder(batch.points, batch.ee)[:, : task.shape[1]])], [own]\n",
        "test/unit/test_contrastive.py::test_its_gradient_reaches_the_task_encoder_and_the_head_alone",
    ),
    Mutant(
        "augmentation: the scene of the decoder is moved with the view",
        "uma_train/views.py",
        "    return replace(points, xyz=move(points.xyz)),",
        "    points.xyz.copy_(move(points.xyz))\n    return points,",
        f"{INVARIANTS}::test_the_denoiser_sees_the_scene_and_the_task_as_they_are_and_only_the_task_encoder_sees_views",
    ),
    Mutant(
        "augmentation: a view tells the decoder",
        "uma_train/objectives.py",
        "    task = model.encode_task(on(device, batch.initial_points), on(device, batch.reference))\n",
        "    task = model.encode_task(*augmented(batch.initial_points, batch.reference, objective.views, np.random.default_rng(0)))\n",
        f"{INVARIANTS}::test_the_denoiser_sees_the_scene_and_the_task_as_they_are_and_only_the_task_encoder_sees_views",
    ),
    Mutant(
        "augmentation: the reference stays where the scene is moved",
        "uma_train/views.py",
        "replace(reference, position=move(reference.position), start=move(reference.start))",
        "reference",
        "test/unit/test_contrastive.py::test_views_keep_the_geometry_between_scene_and_reference",
    ),
    Mutant(
        "normalisation: positions are scaled one way only",
        "uma/model/inputs.py",
        "p = a[:, :3] * steps * norm.position_scale + T_cam_ee[:3, 3]",
        "p = a[:, :3] * steps * 0.15 + T_cam_ee[:3, 3]",
        f"{INVARIANTS}::test_a_chunk_and_a_reference_come_back_from_the_base_frame[0]",
    ),
    Mutant(
        "normalisation: motion is taken about the camera",
        "uma_train/data/windows.py",
        'motion = (store.take("tracks", episode, row) - p[:, None, None]) / norm.local_scale',
        'motion = store.take("tracks", episode, row) / norm.local_scale',
        f"{INVARIANTS}::test_motion_tokens_are_metres_in_the_camera_frame_again",
    ),
    Mutant(
        "frames: rotations are not carried to the base",
        "uma/types.py",
        "return ActionChunk(T @ self.poses,",
        "moved = self.poses.copy()\n        moved[:, :3, 3] = self.poses[:, :3, 3] @ T[:3, :3].T + T[:3, 3]\n        return ActionChunk(moved,",
        f"{INVARIANTS}::test_a_chunk_and_a_reference_come_back_from_the_base_frame[0]",
    ),
    Mutant(
        "parity: training points have another unit",
        "uma_train/data/windows.py",
        'xyz = self.store.take("xyz", episode, frame).astype(np.float32) * np.float32(METRE)',
        'xyz = self.store.take("xyz", episode, frame).astype(np.float32) * np.float32(1.01 * METRE)',
        f"{INVARIANTS}::test_a_window_is_what_deployment_gives_the_model_for_the_same_scene_and_reference",
    ),
    Mutant(
        "parity: deployed keypoints are told about the camera",
        "uma/policy/policy.py",
        "((task.keypoints[:K] - T_cam_ee[:3, 3]) / norm.local_scale)",
        "(task.keypoints[:K] / norm.local_scale)",
        f"{INVARIANTS}::test_a_window_is_what_deployment_gives_the_model_for_the_same_scene_and_reference",
    ),
    Mutant(
        "Masked DiT: one modulation for both roles",
        "uma/model/dit.py",
        "scale, shift, gate = route(modulation[i], role, 3)",
        "scale, shift, gate = route(modulation[i], 0.5 + 0 * role, 3)",
        f"{MODEL}::test_target_and_given_tokens_are_modulated_by_their_own_parameters",
    ),
)


def broken_tree(folder: Path, mutant: Mutant | None) -> Path:
    """A copy of the repository under ``folder``, with ``mutant``'s defect."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    if mutant is not None:
        path = folder / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: {mutant.file} holds {text.count(mutant.old)} times {mutant.old!r}, must be once")
        path.write_text(text.replace(mutant.old, mutant.new))
    return folder


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit code and output for ``tests`` in the tree under ``folder``."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "--durations=0", *tests]
    done = subprocess.run(words, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Exit code 0 if every mutant was caught by its test, and the tests pass without any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the names to run")
    chosen = [m for m in MUTANTS if parser.parse_args().only in m.name]
    with tempfile.TemporaryDirectory() as t:
        code, output = run_tests(broken_tree(Path(t), None), sorted({m.test for m in chosen}))
    if code:
        print(output[-3000:], "\nThe tests fail without any mutant.")
        return 1
    missed = 0
    for m in chosen:
        with tempfile.TemporaryDirectory() as t:
            code, output = run_tests(broken_tree(Path(t), m), [m.test])
        reason = next((line for line in output.splitlines() if line.startswith("E  ")), "")
        # 0 = passed, above 1 = did not run. A defect that does not even run is no mutant.
        caught = code == 1 and not any(kind in reason for kind in ("NameError", "SyntaxError", "ImportError"))
        missed += not caught
        print(f"{'caught' if caught else f'MISSED (pytest exit code {code})'}: {m.name}\n    {m.test}\n    {reason[:150]}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
