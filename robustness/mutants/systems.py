"""Breakages of the systems that UMA is compared with: what tells each one's mechanism from its name."""

from __future__ import annotations

from robustness.mutants.mutant import of

LEAK = "test_uva::test_the_policy_reads_no_future_no_chunk_no_video_head"
APART = "test_uwm::test_hidden_actions_do_not_count_and_steps_are_independent"
EXPERTS = "test_motus::test_experts_have_weights_and_gradients_of_their_own"

UVA = (
    *of(
        "uma_train/baselines/uva/masks.py",
        ("UVA: the policy sees the future", '"policy": Mode(action', '"policy": Mode(future=True, action', LEAK),
        (
            "UVA: videos teach the action head",
            "index = torch.where(has_action.cpu(), index, torch.tensor(names.index(VIDEO_ONLY)))",
            "pass",
            "test_uva::test_modes_are_drawn_evenly_and_videos_without_actions",
        ),
        (
            "UVA: almost nothing of the future is masked",
            "clamp(0.7, 1.0)",
            "clamp(0.0, 0.1)",
            "test_uva::test_at_least_seven_tenths_of_the_future_are_masked",
        ),
    ),
    *of(
        "uma_train/baselines/uva/network.py",
        (
            "UVA: every sample has a pass of its own",
            "condition = self.latent_action(self.join(batch, future, inputs)).repeat_interleave(samples, 0)",
            "condition = torch.stack([self.latent_action(self.join(batch, future, inputs)) for _ in range(samples)], 1)"
            ".flatten(0, 1)",
            "test_uva::test_acting_takes_one_pass_and_no_video",
        ),
    ),
)

UWM = of(
    "uma_train/baselines/uwm/network.py",
    ("UWM: one noise step for both", "if self.config.shared_step:", "if True:", APART),
    (
        "UWM: hidden actions count",
        "known = batch.action * batch.has_action[:, None, None]",
        "known = batch.action",
        APART,
    ),
    (
        "UWM: video mode is given the chunk",
        '"video": ("noise", "falls")',
        '"video": ("clean", "falls")',
        "test_uwm::test_a_mode_keeps_what_it_is_given_and_draws_the_rest[video]",
    ),
    (
        "UWM: blind to the images' noise step",
        "zip(self.time, (steps.action, steps.image)",
        "zip(self.time, (steps.action, steps.action)",
        "test_uwm::test_both_noise_steps_and_the_task_reach_the_output",
    ),
)

MOTUS = (
    *of(
        "uma_train/baselines/motus/network.py",
        (
            "Motus: the target's sign is flipped",
            "(noises[0] - batch.action)",
            "(batch.action - noises[0])",
            "test_motus::test_the_target_is_noise_minus_data",
        ),
        (
            "Motus: images are sampled away from the data",
            "image = image - v[1] / count",
            "image = image + v[1] / count",
            "test_motus::test_euler_steps_along_the_true_velocity_return_the_data",
        ),
        (
            "Motus: one flow time for both",
            "if self.config.shared_time:",
            "if True:",
            "test_motus::test_flow_times_are_drawn_apart",
        ),
        (
            "Motus: a cut of the attention cuts nothing",
            "if not cut:",
            "if True:",
            "test_motus::test_without_the_task_s_tokens_its_side_is_unknown",
        ),
        ("Motus: the first stage has actions", 'None if stage == "video" else action', "action", EXPERTS),
        ("Motus: videos have an action loss", "(wrong * batch.has_action).sum()", "wrong.sum()", EXPERTS),
        (
            "Motus: latent actions come with the robot's state",
            "has = batch.has_action & knows_state",
            "has = batch.has_action",
            "test_motus::test_the_state_of_latent_actions_and_videos_is_not_read",
        ),
    ),
    *of(
        "uma_train/baselines/motus/latents.py",
        (
            "Motus: latent actions without labels",
            "self.config.supervision * action",
            "0.0 * action",
            "test_motus_latents::test_a_latent_action_means_an_action",
        ),
        (
            "Motus: a chunk is not the sum of its latent actions",
            "repeat_interleave(stride, 1).cumsum(1)",
            "repeat_interleave(stride, 1)",
            "test_motus_latents::test_a_chunk_is_the_sum_of_its_latent_actions",
        ),
    ),
    *of(
        "uma_train/baselines/motus/flow.py",
        (
            "Motus: the flow's axes are exchanged",
            "permute(0, 1, 4, 2, 3)",
            "permute(0, 1, 4, 2, 3).flip(2)",
            "test_motus_latents::test_flow_is_the_displacement_in_pixels",
        ),
    ),
    *of(
        "uma_train/baselines/motus/latent_recipe.py",
        (
            "Motus: images are taken by their place, not by their step",
            "index = [drawn.index(s) for s in wanted]",
            "index = list(range(len(wanted)))",
            "test_motus::test_images_and_actions_are_of_their_steps",
        ),
    ),
)

POINT_FLOW = of(
    "uma_train/baselines/point_flow/network.py",
    (
        "point flow: the action bypasses the gripper's points",
        "pose = hand.poses[:, 0]",
        "pose = hand.poses[:, -1]",
        "test_flow_checks::test_ten_steps_a_pass_of_the_gripper_s_points",
    ),
    (
        "point flow: the second pass starts where the first did",
        "now = out[-1][:, -1]",
        "now = points",
        "test_point_flow::test_the_second_pass_continues_the_first",
    ),
)

MUTANTS = (*UVA, *UWM, *MOTUS, *POINT_FLOW)
