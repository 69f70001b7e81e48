"""Defects of training and of the code shared with deployment: masks, losses, views, units."""

from __future__ import annotations

from robustness.mutants.mutant import of

VIEWS = "test_invariants::test_only_the_contrastive_term_sees_views"
PARITY = "test_invariants::test_training_window_equals_deployment_input"

MUTANTS = (
    *of(
        "uma/model/masks.py",
        (
            "random masks: without space",
            "torch.rand(batch, steps, keypoints, generator=generator)",
            "torch.rand(batch, steps, 1, generator=generator)",
            "test_sensitivity::test_random_masks_vary_over_space_time_and_samples",
        ),
        (
            "random masks: without time",
            "torch.rand(batch, steps, keypoints, generator=generator)",
            "torch.rand(batch, 1, keypoints, generator=generator)",
            "test_sensitivity::test_random_masks_vary_over_space_time_and_samples",
        ),
        (
            "random masks: one share for all samples",
            "share = torch.rand(batch, 1, generator=generator)",
            "share = torch.full((batch, 1), 0.5)",
            "test_sensitivity::test_random_masks_vary_over_space_time_and_samples",
        ),
        (
            "random masks: motion is masked as the actions are",
            "torch.rand(batch, steps, keypoints, generator=generator) < share[..., None]",
            "random_action[..., None]",
            "test_sensitivity::test_random_masks_vary_over_modality",
        ),
    ),
    *of(
        "uma/model/contrastive.py",
        (
            "contrastive: a view is a negative of itself",
            "everything = similarity.masked_fill(itself, -torch.inf)",
            "everything = similarity",
            "test_contrastive::test_info_nce_equals_equation_9_written_out",
        ),
    ),
    *of(
        "uma_train/training/objectives.py",
        (
            "weights: lambda_a and lambda_x are swapped",
            'objective.action_weight * out["action"] + objective.motion_weight * out["motion"]',
            'objective.motion_weight * out["action"] + objective.action_weight * out["motion"]',
            "test_sensitivity::test_a_loss_weight_scales_its_own_term_alone[action_weight]",
        ),
        (
            "weights: lambda_c has no effect",
            'objective.contrastive_weight * out["contrastive"]',
            'out["contrastive"]',
            "test_sensitivity::test_a_loss_weight_scales_its_own_term_alone[contrastive_weight]",
        ),
        (
            "contrastive: detached from the unaugmented view",
            "[head(task)]",
            "[head(task.detach())]",
            "test_sensitivity::test_the_contrastive_term_pulls_at_every_view",
        ),
        (
            "flow loss: detached from the task encoder",
            "conditioned, language = task,",
            "conditioned, language = task.detach(),",
            "test_sensitivity::test_the_flow_loss_teaches_every_encoder[action_weight]",
        ),
        (
            "contrastive: its gradient reaches the observation encoder",
            "[head(task)]",
            "[head(task + model.observation_encoder(batch.points, batch.ee)[:, : task.shape[1]])]",
            "test_contrastive::test_gradient_reaches_task_encoder_and_head_alone",
        ),
        (
            "augmentation: a view conditions the decoder",
            "    task = model.encode_task(to_device(device, batch.initial_points), "
            "to_device(device, batch.reference))\n",
            "    view = augmented(batch.initial_points, batch.reference, objective.views, np.random.default_rng(0))\n"
            "    task = model.encode_task(*view)\n",
            VIEWS,
        ),
    ),
    *of(
        "uma_train/training/views.py",
        (
            "augmentation: the scene of the decoder is moved with the view",
            "    return replace(points, xyz=move(points.xyz)),",
            "    points.xyz.copy_(move(points.xyz))\n    return points,",
            VIEWS,
        ),
        (
            "augmentation: the reference stays where the scene is moved",
            "reference, position=move(reference.position), start=move(reference.start)",
            "reference",
            "test_contrastive::test_views_keep_the_geometry_between_scene_and_reference",
        ),
    ),
    *of(
        "uma_train/data/windows.py",
        (
            "normalisation: motion is taken about the camera",
            'store.take("tracks", episode, row) - p[:, None, None]',
            'store.take("tracks", episode, row)',
            "test_invariants::test_motion_tokens_are_metres_in_the_camera_frame_again",
        ),
        (
            "parity: training points have another unit",
            'self.store.take("xyz", episode, frame).astype(np.float32)',
            '1.01 * self.store.take("xyz", episode, frame).astype(np.float32)',
            PARITY,
        ),
    ),
    *of(
        "uma/model/inputs.py",
        (
            "normalisation: positions are scaled one way only",
            "p = a[:, :3] * steps * norm.position_scale",
            "p = a[:, :3] * steps * 0.15",
            "test_invariants::test_a_chunk_and_a_reference_come_back_from_the_base_frame[0]",
        ),
    ),
    *of(
        "uma/types.py",
        (
            "frames: rotations are not carried to the base",
            "poses=T @ self.poses",
            "poses=np.concatenate([np.concatenate([self.poses[:, :3, :3], (T @ self.poses)[:, :3, 3:]], 2),"
            " self.poses[:, 3:]], 1)",
            "test_invariants::test_a_chunk_and_a_reference_come_back_from_the_base_frame[0]",
        ),
    ),
    *of(
        "uma/policy/query.py",
        (
            "parity: deployed keypoints are relative to the frame's origin",
            "(p.positions(points_cam) - origin)",
            "p.positions(points_cam)",
            PARITY,
        ),
    ),
)
