"""Defects of the model: flow, tokens, roles, attention, context."""

from __future__ import annotations

from robustness.mutants.mutant import of

UNMOVED = "test_model::test_action_free_samples_are_independent_of_action_tokens"

MUTANTS = (
    *of(
        "uma/model/uma.py",
        (
            "flow: the target is doubled",
            "v.float() - (x - n)",
            "v.float() - 2 * (x - n)",
            "test_learning::test_sampled_poses_are_the_learned_ones[control]",
        ),
        (
            "flow: the target's sign is flipped",
            "v.float() - (x - n)",
            "v.float() - (n - x)",
            "test_sensitivity::test_the_flow_target_is_data_minus_noise",
        ),
        (
            "flow: the denoiser is blind to flow time",
            "flow_time * 1000.0",
            "flow_time * 0.0",
            "test_sensitivity::test_the_velocity_depends_on_flow_time",
        ),
        (
            "padding: padded keypoints are attended to",
            "torch.cat([actions_valid, is_valid], 1)",
            "torch.cat([actions_valid, torch.ones_like(is_valid)], 1)",
            "test_model::test_padded_keypoints_change_nothing",
        ),
        (
            "action-free: their placeholders are supervised",
            "action_weight = action_weight * grid.is_supervised_action[:, None, None]",
            "pass",
            "test_model::test_action_free_samples_give_the_action_head_no_gradient",
        ),
        (
            "action-free: their placeholders are attended to",
            "if has_action is None else has_action[:, None]",
            "if True else has_action[:, None]",
            UNMOVED,
        ),
        (
            "tokens: they depend on their index",
            "z = torch.cat([a, m], 2)",
            "z = torch.cat([a, m + torch.arange(K)[:, None] * torch.linspace(-0.1, 0.1, m.shape[-1])], 2)",
            "test_model::test_keypoint_permutation_permutes_the_motion",
        ),
        (
            "tokens: no step embedding",
            " + step[:, None]",
            "",
            "test_sensitivity::test_the_velocity_depends_on_which_step_a_token_is",
        ),
        (
            "tokens: no keypoint identity, by place",
            "identity[:, None].expand(B, T, K, 3)",
            "0 * identity[:, None].expand(B, T, K, 3)",
            "test_sensitivity::test_keypoints_at_one_place_differ[position]",
        ),
        (
            "tokens: no keypoint identity, by number",
            "m = m + self.keypoint[:K]",
            "m = m + 0 * self.keypoint[:K]",
            "test_sensitivity::test_keypoints_at_one_place_differ[index]",
        ),
        (
            "roles: constant in training",
            "grid.is_valid, mask, t,",
            "grid.is_valid, MaskPattern(mask.action | True, mask.motion | True), t,",
            "test_sensitivity::test_in_training_both_roles_are_learned",
        ),
        (
            "roles: no embedding",
            "role @ self.role",
            "0 * (role @ self.role)",
            "test_sensitivity::test_velocity_depends_on_a_tokens_role[embedding]",
        ),
        (
            "cached context: it is used up",
            "[block.cache(context) for",
            "[iter(block.cache(context)) for",
            "test_invariants::test_cached_context_samples_as_a_fresh_one",
        ),
        (
            "context: the task is left out",
            "torch.cat([observation, task], 1)",
            "torch.cat([observation, 0 * task], 1)",
            "test_sensitivity::test_the_velocity_depends_on_the_task",
        ),
        (
            "context: the observation is left out",
            "torch.cat([observation, task], 1)",
            "torch.cat([0 * observation, task], 1)",
            "test_sensitivity::test_the_velocity_depends_on_the_observed_cloud[xyz]",
        ),
    ),
    *of(
        "uma/model/dit.py",
        (
            "roles: one modulation for both",
            "route(modulation[i], role, 3)",
            "route(modulation[i], 0.5 + 0 * role, 3)",
            "test_model::test_target_and_given_tokens_have_their_own_modulation",
        ),
        (
            "attention: tokens of one step do not see each other",
            "layer(y.reshape(B * T, P, d), key_valid).view",
            "y.view",
            "test_sensitivity::test_actions_motion_and_steps_see_each_other",
        ),
        (
            "attention: steps do not see each other",
            "layer(y.transpose(1, 2).reshape(B * P, T, d))",
            "y.transpose(1, 2).reshape(B * P, T, d)",
            "test_sensitivity::test_actions_motion_and_steps_see_each_other",
        ),
    ),
    *of(
        "uma/model/attention.py",
        (
            "cached context: it is altered in place",
            "self.out(attend(q, *keys_values, is_valid)",
            "self.out(attend(q, keys_values[0].mul_(1.1), keys_values[1], is_valid)",
            "test_invariants::test_cached_context_samples_as_a_fresh_one",
        ),
    ),
    *of(
        "uma/model/flow.py",
        (
            "given tokens: they drift with the velocity",
            "torch.where(m, a + b.to(a.dtype) / num_steps, g)",
            "a + b.to(a.dtype) / num_steps",
            "test_model::test_given_tokens_are_bit_identical_after_sampling[control]",
        ),
        (
            "given tokens: they start from noise",
            "action, motion = (torch.where(m, n, g) for",
            "action, motion = (n for",
            "test_invariants::test_given_tokens_are_clean_at_every_evaluation",
        ),
        (
            "flow: the path runs from data to noise",
            "(1 - t) * noise + t * data",
            "t * noise + (1 - t) * data",
            "test_learning::test_sampled_keypoints_are_the_learned_ones[dynamics]",
        ),
        (
            "flow: the sampler takes half steps",
            "a + b.to(a.dtype) / num_steps",
            "a + b.to(a.dtype) / num_steps / 2",
            "test_learning::test_sampled_poses_are_the_learned_ones[inverse]",
        ),
    ),
    *of(
        "uma/model/encoders.py",
        (
            "padding: padded waypoints are gathered",
            "self.gather.keys_values(gathered), reference.is_valid)",
            "self.gather.keys_values(gathered))",
            "test_model::test_task_ignores_padding_and_order_of_the_reference",
        ),
        (
            "task encoder: it ignores the cloud",
            "to_points.keys_values(cloud)",
            "to_points.keys_values(0 * cloud)",
            "test_sensitivity::test_task_tokens_depend_on_the_cloud[xyz]",
        ),
        (
            "points: without colour",
            "colour = points.rgb * 2 - 1",
            "colour = points.rgb * 0",
            "test_sensitivity::test_the_velocity_depends_on_the_observed_cloud[rgb]",
        ),
    ),
    *of(
        "uma/model/pointnet.py",
        (
            "points: the farthest are grouped",
            "largest=False",
            "largest=True",
            "test_sensitivity::test_points_are_grouped_with_their_nearest_neighbours",
        ),
        (
            "points: absolute instead of relative to their centre",
            "gather(xyz, near) - centre[:, :, None]",
            "gather(xyz, near)",
            "test_sensitivity::test_group_is_relative_to_its_centre",
        ),
    ),
    *of(
        "uma/model/carry.py",
        (
            "carry: an opening hand takes things along",
            "both = (closed[:, i] & closed[:, i - 1])",
            "both = (closed[:, i] | closed[:, i - 1])",
            "test_carry::test_the_carried_points_are_those_of_the_baseline[5-steps0]",
        ),
        (
            "carry: no arm lags",
            "torch.lerp(here, goals[:, i : i + 1].expand_as(here), self.paces)",
            "goals[:, i : i + 1].expand_as(here)",
            "test_carry::test_an_arm_that_lags_carries_later[1]",
        ),
        (
            "carry: untracked points stay where they were at first",
            "torch.where(is_given[..., None], motion, moved(hand.R, hand.p, identity))",
            "torch.where(is_given[..., None], motion, identity)",
            "test_carry::test_untracked_points_are_where_the_hand_has_taken_them",
        ),
    ),
    *of(
        "uma_train/training/adapt.py",
        (
            "prompts: adaptation ignores the scene",
            "        task = model.in_scene(tokens.expand(len(points.xyz), -1, -1), points)",
            "        task = tokens.expand(len(points.xyz), -1, -1)",
            "test_prompts_in_scene::test_every_sample_is_completed_by_its_own_scene",
        ),
    ),
)
