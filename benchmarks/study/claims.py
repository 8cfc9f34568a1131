# SPDX-License-Identifier: Apache-2.0
"""
What the papers claim, as far as a model of this size can tell: each claim is a difference and its sign.

Claims are in families, one for each paper, within which the probability of a false verdict is bounded: each paper is a
question of its own, which a reader looks up by itself. Ablations of ours have intervals in the tables, and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .inference import Estimate, holm
from .outcomes import CURVE, EQUAL_PASSES, Outcome, difference, over_frontier
from .records import Study
from .variants import UNTRAINED


SUPPORTED, CONTRADICTED, EQUAL = "supported", "contradicted", "about equal"
UNDECIDED, MISSING = "undecided", "not run"
LEVEL = 0.05
SMALL = 0.015  # a difference of accuracies that would not matter
FEWEST_SEEDS = 3  # a verdict of one training would be of this training

DIFFPO, AGRPO, DMPO, OTHERS = "DiFFPO", "AGRPO", "DMPO", "other methods"


@dataclass(frozen=True)
class Claim:
    """
    A claim that a difference is positive.

    Args:
        family (`str`):
            The paper.
        text (`str`):
            In words.
        task (`str`):
            On which it is looked at.
        what (`str`):
            The difference, in words.
        estimate (`Callable[[Study], Estimate | None]`):
            The difference; `None` if the runs are not there.
    """

    family: str
    text: str
    task: str
    what: str
    estimate: Callable[[Study], Estimate | None]


@dataclass(frozen=True)
class Judgement:
    """
    What came of a claim.

    Args:
        claim ([`Claim`]):
            The claim.
        verdict (`str`):
            `"supported"`, `"contradicted"`, `"about equal"`, `"undecided"` or `"not run"`.
        estimate ([`Estimate`], *optional*):
            The difference.
        p_value (`float`, *optional*):
            Of no difference, adjusted for all the claims of the family.
    """

    claim: Claim
    verdict: str
    estimate: Estimate | None = None
    p_value: float | None = None


def _more(family: str, text: str, variant: str, baseline: str, outcome: Outcome, task: str = "sudoku") -> Claim:
    """A variant has more of it than another."""

    def estimate(study: Study) -> Estimate | None:
        if outcome is CURVE and not study.seeds(task, UNTRAINED):
            return None  # the curve starts there
        return difference(study, task, variant, baseline, outcome)

    return Claim(family, text, task, f"{outcome.name}, `{variant}` less `{baseline}`", estimate)


def _beyond(family: str, text: str, variant: str, baseline: str) -> Claim:
    """A variant with learned thresholds is above another's frontier."""
    what = f"accuracy of `{variant}` with its thresholds less that of `{baseline}` in as many passes"
    return Claim(family, text, "sudoku", what, lambda study: over_frontier(study, "sudoku", variant, baseline))


def _of_a_method(family: str, method: str) -> list[Claim]:
    """What each paper says of its method."""
    return [
        _more(family, "It surpasses diffu-GRPO", method, "diffu-grpo", EQUAL_PASSES),
        _more(family, "It surpasses diffu-GRPO", method, "diffu-grpo", EQUAL_PASSES, "countdown"),
        _more(family, "It learns faster than diffu-GRPO", method, "diffu-grpo", CURVE),
        _more(family, "It learns faster than diffu-GRPO", method, "diffu-grpo", CURVE, "countdown"),
        _more(family, "It makes inference faster", method, UNTRAINED, EQUAL_PASSES),
        _more(family, "It makes inference faster", method, UNTRAINED, EQUAL_PASSES, "countdown"),
    ]


CLAIMS = [
    *_of_a_method(DIFFPO, "diffpo"),
    _more(DIFFPO, "Two-times mean-field is better than mean field", "diffpo", "diffpo-mf", EQUAL_PASSES),
    _more(DIFFPO, "Two-times mean-field learns faster than mean field", "diffpo", "diffpo-mf", CURVE),
    _more(DIFFPO, "Importance weights help", "diffpo", "diffpo-unweighted", EQUAL_PASSES),
    _beyond(DIFFPO, "Joint training beats training the model", "diffpo-cool-joint", "diffpo-cool"),
    _beyond(DIFFPO, "Joint training beats training the sampler", "diffpo-cool-joint", "diffpo-cool-sampler"),
    *_of_a_method(AGRPO, "agrpo"),
    _more(AGRPO, "A step of the trajectory teaches more than a random mask", "agrpo-k1", "uni-grpo-unscaled", CURVE),
    _more(AGRPO, "More draws learn faster: 8 against 1", "agrpo", "agrpo-k1", CURVE),
    *_of_a_method(DMPO, "dmpo"),
    _more(DMPO, "It surpasses coupled-GRPO", "dmpo", "coupled-grpo", EQUAL_PASSES),
    _more(DMPO, "A baseline helps: negative", "dmpo-negative", "dmpo-none", EQUAL_PASSES),
    _more(DMPO, "A baseline helps: model", "dmpo", "dmpo-none", EQUAL_PASSES),
    *(
        _more(OTHERS, f"{method} surpasses diffu-GRPO", method, "diffu-grpo", EQUAL_PASSES)
        for method in ("coupled-grpo", "wd1", "spg", "espo", "gdpo", "d2", "uni-grpo", "just-grpo")
    ),
]


def judge(study: Study, claims: list[Claim] = CLAIMS) -> list[Judgement]:
    """
    A claim is supported if the difference has the sign that it says and is not chance, and contradicted if it has the
    other sign and is not chance. Holm's adjustment over the claims of a family, also those that have not been run by
    three seeds yet, keeps the probability of one false verdict or more below 5 %. Of the others, those whose interval
    has no difference that would matter are about equal.
    """
    found = [claim.estimate(study) for claim in claims]
    estimates = [e if e is not None and e.seeds >= FEWEST_SEEDS else None for e in found]
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(claim.family for claim in claims):
        own = [i for i, claim in enumerate(claims) if claim.family == family]
        p_values = [1.0 if (estimate := estimates[i]) is None else estimate.p_value for i in own]
        adjusted |= zip(own, holm(p_values), strict=True)
    return [
        Judgement(claim, _verdict(estimate, adjusted[i]), estimate, adjusted[i])
        if estimate is not None
        else Judgement(claim, MISSING)
        for i, (claim, estimate) in enumerate(zip(claims, estimates, strict=True))
    ]


def _verdict(estimate: Estimate, p_value: float) -> str:
    if p_value < LEVEL:
        return SUPPORTED if estimate.mean > 0 else CONTRADICTED
    low, high = estimate.interval
    return EQUAL if low > -SMALL and high < SMALL else UNDECIDED
