# SPDX-License-Identifier: Apache-2.0
"""What is trained, and why: variants, and the groups that are compared in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


UNTRAINED = "untrained"
JOINT = {"threshold_learning_rate": 3e-3}
NO_CAP = 1e6  # the option must be finite


@dataclass(frozen=True)
class Variant:
    """
    One way to train.

    Args:
        key (`str`):
            Name on the command line and of the files.
        trainer (`str`):
            The trainer's name without `Trainer`; empty for the untrained model.
        reason (`str`):
            What it is there to show.
        options (`dict`):
            What differs from the method's defaults and the protocol.
        reward (`str`):
            `"task"`; `"speed"` or `"haste"`, paid a little or much for fewer passes; or `"permuted"`, dealt out at
            random within the group.
        mean_field (`bool`):
            Whether DiFFPO's surrogate is replaced by the mean field, without masking the prompt.
    """

    key: str
    trainer: str
    reason: str
    options: dict[str, Any] = field(default_factory=dict)
    reward: str = "task"
    mean_field: bool = False

    @property
    def learns_threshold(self) -> bool:
        return self.options.get("regime", "model") != "model"

    @property
    def method(self) -> str:
        """Key of the method as it is by default, whose learning rate a variant shares."""
        return next(key for key in GROUPS["methods"].variants if VARIANTS[key].trainer == self.trainer)


@dataclass(frozen=True)
class Group:
    """
    Variants in one table.

    Args:
        baseline (`str`):
            Key of the variant that the others are compared with.
        variants (`tuple[str, ...]`):
            Keys.
        tasks (`tuple[str, ...]`):
            On which it is run unless the command line says otherwise.
        passes (`float`, *optional*):
            Forward passes per answer at which they are compared, if not those of the task: two blocks take two.
    """

    baseline: str
    variants: tuple[str, ...]
    tasks: tuple[str, ...] = ("sudoku",)
    passes: float | None = None

    @property
    def learning_thresholds(self) -> tuple[str, ...]:
        return tuple(key for key in self.variants if VARIANTS[key].learns_threshold)


def _diffpo(key: str, reason: str, *, reward: str = "task", mean_field: bool = False, **options: Any) -> Variant:
    return Variant(key, "DiFFPO", reason, options, reward, mean_field)


def _cool(key: str, reason: str, **options: Any) -> Variant:
    return _diffpo(key, reason, reward="haste", temperature=0.3, **options)


def _agrpo(key: str, reason: str, draws: int, **options: Any) -> Variant:
    return Variant(key, "AGRPO", reason, {"num_step_draws": draws, "views_per_forward": draws, **options})


def _dmpo(key: str, reason: str, **options: Any) -> Variant:
    return Variant(key, "DMPO", reason, options)


_LIST = [
    Variant(UNTRAINED, "", "what there was before"),
    # Every method at its defaults. `views_per_forward` is a matter of speed.
    Variant("diffu-grpo", "DiffuGRPO", "mean field with a masked prompt: the baseline of all papers"),
    _diffpo("diffpo", "two-times mean-field, importance weights of at most 2"),
    _agrpo("agrpo", "the trajectory's gradient at 8 sampled steps", 8),
    _dmpo("dmpo", "weighted cross-entropy to the tilted reference, model baseline"),
    Variant("coupled-grpo", "CoupledGRPO", "a mask and its complement"),
    Variant("wd1", "WD1", "weighted likelihood on the mean field, no ratio"),
    Variant("spg", "SPG", "a lower bound for good completions, an upper one for bad ones"),
    Variant("espo", "ESPO", "the sequence's ELBO as one action"),
    Variant("gdpo", "GDPO", "the sequence's ELBO by quadrature"),
    Variant("d2", "D2", "the trajectory in 8 segments", {"views_per_forward": 8}),
    Variant(
        "trace-rl", "TraceRL", "the trajectory two steps at a time", {"steps_per_segment": 2, "views_per_forward": 8}
    ),
    Variant("uni-grpo", "UniGRPO", "one random mask"),
    Variant("just-grpo", "JustGRPO", "left to right, exact", {"unmasking": "left_to_right", "views_per_forward": 8}),
    # DiFFPO: surrogate, weights, cap.
    _diffpo("diffpo-unweighted", "no importance weights", importance_sampling_correction=False),
    _diffpo("diffpo-mf", "mean field instead of two-times mean-field", mean_field=True),
    _diffpo("diffpo-mf-unweighted", "mean field, no weights", mean_field=True, importance_sampling_correction=False),
    _diffpo("diffpo-cap-1", "weights of at most 1", importance_sampling_clip_max=1.0),
    _diffpo("diffpo-cap-5", "weights of at most 5", importance_sampling_clip_max=5.0),
    _diffpo("diffpo-no-cap", "weights as they are", importance_sampling_clip_max=NO_CAP),
    # DiFFPO: what is trained, with a reward that pays for speed.
    _diffpo("diffpo-speed", "the model alone, fixed bound", reward="speed"),
    _diffpo("diffpo-sampler", "the threshold head alone", reward="speed", regime="sampler", **JOINT),
    _diffpo("diffpo-joint", "both, a grid of bounds", reward="speed", regime="joint", **JOINT),
    _diffpo(
        "diffpo-joint-continuous",
        "both, a continuous bound",
        reward="speed",
        regime="joint",
        threshold_head="continuous",
        **JOINT,
    ),
    # The same in two blocks.
    _diffpo("diffpo-blocks", "the model alone, two blocks", reward="speed", block_length=10),
    _diffpo("diffpo-joint-blocks", "both, two blocks", reward="speed", regime="joint", block_length=10, **JOINT),
    _diffpo(
        "diffpo-joint-per-block",
        "both, two blocks with a bound each",
        reward="speed",
        regime="joint",
        block_length=10,
        threshold_per_block=True,
        **JOINT,
    ),
    # The same where the model is right from the start, and has all to gain from fewer passes.
    _cool("diffpo-cool", "the model alone, bound 0.1"),
    _cool("diffpo-cool-bound-1", "the model alone, bound 1", entropy_bound=1.0),
    _cool("diffpo-cool-sampler", "the threshold head alone", regime="sampler", **JOINT),
    _cool("diffpo-cool-joint", "both, a grid of bounds", regime="joint", **JOINT),
    _cool(
        "diffpo-cool-joint-continuous",
        "both, a continuous bound",
        regime="joint",
        threshold_head="continuous",
        **JOINT,
    ),
    # DMPO: baseline, objective, masks, temperature of the target. In the first update after a rollout the model's
    # baseline is 1/G, so that "group" would be the same run.
    _dmpo("dmpo-none", "no baseline: all weights are positive", weight_baseline="none"),
    _dmpo("dmpo-negative", "the authors' default: weights of the reversed reward", weight_baseline="negative"),
    _dmpo("dmpo-wddo", "logistic instead of cross-entropy", objective="wddo"),
    _dmpo("dmpo-replicates-2", "2 masks per completion instead of 4", num_replicates=2),
    _dmpo("dmpo-replicates-8", "8 masks", num_replicates=8),
    _dmpo("dmpo-alpha-0.03", "a target three times as sharp", beta=0.03),
    _dmpo("dmpo-alpha-0.3", "a target a third as sharp", beta=0.3),
    # AGRPO: how many steps are scored, and which.
    _agrpo("agrpo-k1", "one step", 1),
    _agrpo("agrpo-k2", "two steps", 2),
    _agrpo("agrpo-k4", "four steps", 4),
    _agrpo("agrpo-k2-uniform", "two steps, by uniform chance", 2, step_distribution="uniform"),
    _agrpo("agrpo-k2-unstratified", "two steps, drawn independently", 2, stratify_steps=False),
    _agrpo(
        "agrpo-k2-plain",
        "two steps, uniform and independent",
        2,
        step_distribution="uniform",
        stratify_steps=False,
    ),
    _agrpo("agrpo-random", "8 steps, of rollouts that unmask at random: its exact gradient", 8, unmasking="random"),
    # As many canvases as AGRPO's single step, and its scale of rewards.
    Variant("uni-grpo-unscaled", "UniGRPO", "one random mask, rewards not scaled", {"scale_rewards": "none"}),
    # Rewards that say nothing.
    _diffpo("diffpo-permuted", "DiFFPO with permuted rewards", reward="permuted"),
    Variant("agrpo-permuted", "AGRPO", "AGRPO with permuted rewards", {"views_per_forward": 8}, "permuted"),
    # Several updates per batch of rollouts: as many updates, a quarter of the rollouts.
    _diffpo("diffpo-reuse", "four updates per rollout batch", num_iterations=4),
    _dmpo("dmpo-reuse", "four updates per rollout batch", num_iterations=4),
]
VARIANTS = {v.key: v for v in _LIST}

MAIN = ("diffu-grpo", "diffpo", "dmpo", "agrpo")  # those with papers that this library is about, and their baseline

GROUPS = {
    "methods": Group(
        "diffu-grpo",
        (
            "diffu-grpo", "diffpo", "agrpo", "dmpo", "coupled-grpo", "wd1", "spg", "espo", "gdpo", "d2", "trace-rl",
            "uni-grpo", "just-grpo",
        ),
    ),
    "main": Group("diffu-grpo", MAIN, ("countdown",)),
    "diffpo": Group(
        "diffpo",
        (
            "diffpo", "diffpo-unweighted", "diffpo-mf", "diffpo-mf-unweighted", "diffpo-cap-1", "diffpo-cap-5",
            "diffpo-no-cap",
        ),
    ),
    "threshold": Group(
        "diffpo-speed",
        ("diffpo-speed", "diffpo-sampler", "diffpo-joint", "diffpo-joint-continuous"),
    ),
    "threshold-blocks": Group(
        "diffpo-blocks",
        ("diffpo-blocks", "diffpo-joint-blocks", "diffpo-joint-per-block"),
        passes=4.0,
    ),
    "threshold-cool": Group(
        "diffpo-cool",
        (
            "diffpo-cool", "diffpo-cool-bound-1", "diffpo-cool-sampler", "diffpo-cool-joint",
            "diffpo-cool-joint-continuous",
        ),
    ),
    "dmpo": Group(
        "dmpo",
        (
            "dmpo", "dmpo-none", "dmpo-negative", "dmpo-wddo", "dmpo-replicates-2", "dmpo-replicates-8",
            "dmpo-alpha-0.03", "dmpo-alpha-0.3",
        ),
    ),
    "agrpo": Group(
        "agrpo",
        (
            "agrpo", "agrpo-k1", "agrpo-k2", "agrpo-k4", "agrpo-k2-uniform", "agrpo-k2-unstratified",
            "agrpo-k2-plain", "agrpo-random", "uni-grpo-unscaled",
        ),
    ),
    "control": Group(
        UNTRAINED,
        (UNTRAINED, "diffpo-permuted", "agrpo-permuted"),
        ("sudoku", "countdown"),
    ),
    "reuse": Group(
        "diffpo",
        ("diffpo", "diffpo-reuse", "dmpo", "dmpo-reuse"),
    ),
}  # fmt: skip
