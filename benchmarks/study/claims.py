# SPDX-License-Identifier: Apache-2.0
"""What the papers claim, as far as a model of this size can tell: each claim is a difference and its sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .outcomes import at_equal_passes, difference, learning_curve, over_frontier
from .records import Study
from .statistics import Estimate, holm
from .variants import MAIN, UNTRAINED


SUPPORTED, CONTRADICTED, UNDECIDED, MISSING = "supported", "contradicted", "undecided", "not run"
LEVEL = 0.05
FEWEST_SEEDS = 3  # with one, nothing would be known of their spread


@dataclass(frozen=True)
class Claim:
    """
    A claim that a difference is positive.

    Args:
        text (`str`):
            In words.
        source (`str`):
            Who says so.
        task (`str`):
            On which it is looked at.
        what (`str`):
            The difference, in words.
        estimate (`Callable[[Study], Estimate | None]`):
            The difference; `None` if the runs are not there.
    """

    text: str
    source: str
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
            `"supported"`, `"contradicted"`, `"undecided"` or `"not run"`.
        estimate ([`Estimate`], *optional*):
            The difference.
        p_value (`float`, *optional*):
            Of no difference, adjusted for all the claims.
    """

    claim: Claim
    verdict: str
    estimate: Estimate | None = None
    p_value: float | None = None


def _less(task: str, variant: str, baseline: str, how: str = "passes") -> tuple[str, Callable]:
    def estimate(study: Study) -> Estimate | None:
        if how == "passes":
            return difference(study, task, variant, baseline, at_equal_passes)
        if not study.seeds(task, UNTRAINED):
            return None  # the curve starts there
        return difference(study, task, variant, baseline, partial(learning_curve, study))

    name = {"passes": "accuracy in equal passes", "curve": "learning curve"}[how]
    return f"{name}, `{variant}` less `{baseline}`", estimate


def _beyond(task: str, variant: str, baseline: str) -> tuple[str, Callable]:
    what = f"accuracy of `{variant}` with its thresholds less that of `{baseline}` in as many passes"
    return what, lambda study: over_frontier(study, task, variant, baseline)


DIFFPO, DMPO, AGRPO = "DiFFPO", "DMPO", "AGRPO"

# Methods that are said to surpass diffu-GRPO, and where: in their own papers, or in the tables of another.
SURPASSING = {
    "diffpo": DIFFPO,
    "agrpo": AGRPO,
    "dmpo": DMPO,
    "coupled-grpo": DMPO,
    "wd1": "wd1",
    "spg": "SPG",
    "espo": "ESPO",
    "gdpo": "GDPO",
    "d2": "d2",
    "uni-grpo": "SPG",
    "just-grpo": "JustGRPO",
}


def _claims() -> list[Claim]:
    listed: list[Claim] = []

    def add(text: str, source: str, found: tuple[str, Callable], task: str = "sudoku") -> None:
        listed.append(Claim(text, source, task, *found))

    add("Two-times mean-field beats mean field", DIFFPO, _less("sudoku", "diffpo", "diffpo-mf"))
    add(
        "Two-times mean-field beats mean field, unweighted",
        DIFFPO,
        _less("sudoku", "diffpo-unweighted", "diffpo-mf-unweighted"),
    )
    add("Importance weights help", DIFFPO, _less("sudoku", "diffpo", "diffpo-unweighted"))
    add("Importance weights help the mean field", DIFFPO, _less("sudoku", "diffpo-mf", "diffpo-mf-unweighted"))
    add("Capping them helps", f"{DIFFPO}, by design", _less("sudoku", "diffpo", "diffpo-no-cap"))
    add("Joint training beats training the model", DIFFPO, _beyond("sudoku", "diffpo-joint", "diffpo-speed"))
    add("Joint training beats training the sampler", DIFFPO, _beyond("sudoku", "diffpo-joint", "diffpo-sampler"))
    add("The sampler alone is worth training", DIFFPO, _beyond("sudoku", "diffpo-sampler", UNTRAINED))
    for text, variant, baseline in (
        ("Joint training beats training the model", "joint", "diffpo-cool"),
        ("Joint training beats training the model at the bound that it finds", "joint", "diffpo-cool-bound-1"),
        ("Joint training beats training the sampler", "joint", "diffpo-cool-sampler"),
        ("The sampler alone is worth training", "sampler", UNTRAINED),
    ):
        found = _beyond("sudoku", f"diffpo-cool-{variant}", baseline)
        add(f"{text}, where rollouts are right from the start", DIFFPO, found)
    add("More draws are better: 8 against 1", AGRPO, _less("sudoku", "agrpo", "agrpo-k1"))
    add("More draws learn faster: 8 against 1", AGRPO, _less("sudoku", "agrpo", "agrpo-k1", "curve"))
    add("Draws by entropy help", f"{AGRPO}, by design", _less("sudoku", "agrpo-k2", "agrpo-k2-uniform"))
    add("Stratified draws help", f"{AGRPO}, by design", _less("sudoku", "agrpo-k2", "agrpo-k2-unstratified"))
    add("The exact gradient beats one random mask", AGRPO, _less("sudoku", "agrpo", "uni-grpo"))
    for variant, name in (("dmpo-negative", "negative"), ("dmpo", "model")):
        add(f"A baseline helps: {name}", DMPO, _less("sudoku", variant, "dmpo-none"))
    add("DMPO surpasses coupled-GRPO", DMPO, _less("sudoku", "dmpo", "coupled-grpo"))
    for method, source in SURPASSING.items():
        add(f"diffu-GRPO is surpassed by {method}", source, _less("sudoku", method, "diffu-grpo"))
    for method in MAIN[1:]:
        add(
            f"diffu-GRPO learns slower than {method}",
            SURPASSING[method],
            _less("sudoku", method, "diffu-grpo", "curve"),
        )
    for method in MAIN[1:]:
        found = _less("countdown", method, "diffu-grpo")
        add(f"diffu-GRPO is surpassed by {method}", SURPASSING[method], found, "countdown")
    for task in ("sudoku", "countdown"):
        for method in ("diffpo", "agrpo"):
            found = _less(task, method, UNTRAINED)
            add(f"Training makes inference faster: {method}", SURPASSING[method], found, task)
    return listed


CLAIMS = _claims()


def judge(study: Study, claims: list[Claim] = CLAIMS) -> list[Judgement]:
    """
    A claim is supported if the difference has the sign that it says and is not chance at the 5 % level, contradicted
    if it has the other sign and is not chance, and else undecided. Holm's adjustment, over all the claims of
    which there are runs by three seeds or more, keeps the probability of one false verdict or more below 5 %.
    """
    found = [claim.estimate(study) for claim in claims]
    estimates = [e if e is not None and e.seeds >= FEWEST_SEEDS else None for e in found]
    adjusted = iter(holm([e.p_value for e in estimates if e is not None]))
    judgements = []
    for claim, estimate in zip(claims, estimates, strict=True):
        if estimate is None:
            judgements.append(Judgement(claim, MISSING))
            continue
        p_value = next(adjusted)
        decided = SUPPORTED if estimate.mean > 0 else CONTRADICTED
        judgements.append(Judgement(claim, decided if p_value < LEVEL else UNDECIDED, estimate, p_value))
    return judgements
