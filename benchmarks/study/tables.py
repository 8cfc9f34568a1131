# SPDX-License-Identifier: Apache-2.0
"""What the study prints, and the page that holds the same."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .claims import CLAIMS, CONTRADICTED, LEVEL, MISSING, SUPPORTED, UNDECIDED, judge
from .markdown import percent, points, probability, rows
from .outcomes import (
    at_passes,
    difference,
    greedy,
    learning_curve,
    mean,
    one_per_pass,
    over_frontier,
    passes_for,
    sampled,
)
from .protocol import TASKS
from .records import Record, Study
from .statistics import Estimate, detectable, holm
from .tuning import tuned_table
from .variants import GROUPS, UNTRAINED, VARIANTS


PAGE = Path(__file__).parents[2] / "docs" / "study.md"
NOTHING = "*Not run yet.*"
MARGIN = 0.02
LEARNED = "-learned"  # of a group's second table


def table(study: Study, group: str, task: str) -> list[str]:
    """A group of variants on one task; empty if nothing has been run."""
    about = GROUPS[group]
    present = [key for key in about.variants if study.seeds(task, key)]
    if not present:
        return []
    passes = about.passes or TASKS[task].passes
    equal = partial(at_passes, passes=passes)
    estimates = {key: difference(study, task, key, about.baseline, equal) for key in present if key != about.baseline}
    known = {key: estimate for key, estimate in estimates.items() if estimate is not None}
    adjusted = dict(zip(known, holm([e.p_value for e in known.values()]), strict=True))
    fastest = _seconds(study.seeds(task, about.baseline))
    lines = []
    for key in present:
        records = study.seeds(task, key)
        seconds = _seconds(records)
        lines.append(
            [
                f"`{key}`",
                VARIANTS[key].reason,
                str(len(records)),
                percent(mean(study, task, key, sampled)),
                percent(mean(study, task, key, greedy)),
                f"{statistics.mean(r.answers['bound 0.1'].passes for r in records.values()):.2f}",
                percent(mean(study, task, key, one_per_pass)),
                percent(_area(study, task, key)),
                percent(mean(study, task, key, equal)),
                points(known.get(key)),
                probability(adjusted[key]) if key in adjusted else "",
                f"{seconds / fastest:.2f}" if seconds and fastest else "",
            ]
        )
    heads = (
        "variant", "", "seeds", "sampled", "greedy", "passes", "one per pass", "curve",
        f"in {passes:g} passes", f"less `{about.baseline}`", "p", "time",
    )  # fmt: skip
    return rows(heads, lines)


def learned_table(study: Study, group: str, task: str) -> list[str]:
    """Learned thresholds: where they end, and against what fixed ones reach in as many passes."""
    baseline, lines = GROUPS[group].baseline, []
    for key in (key for key in GROUPS[group].learning_thresholds if study.seeds(task, key)):
        records = study.seeds(task, key)
        lines.append(
            [
                f"`{key}`",
                f"{100 * statistics.mean(r.answers['learned'].bits.mean() for r in records.values()):.1f}",
                ", ".join(f"{r.answers['learned'].passes:.2f}" for r in records.values()),
                points(over_frontier(study, task, key, UNTRAINED)),
                points(over_frontier(study, task, key, baseline)),
                points(over_frontier(study, task, key, key)),
            ]
        )
    heads = (
        "variant",
        "accuracy",
        "passes, by seed",
        "less `untrained`",
        f"less `{baseline}`",
        "less its own bounds",
    )
    return rows(heads, lines) if lines else []


def speed_table(study: Study, task: str) -> list[str]:
    """Passes that it takes to be as good as the untrained model ever is, but for two points."""
    if not study.seeds(task, UNTRAINED):
        return []
    before = study.seeds(task, UNTRAINED)[0]
    target = -MARGIN + max(float(a.bits.mean()) for name, a in before.answers.items() if name.startswith("bound "))
    lines = []
    for key in (UNTRAINED, *GROUPS["methods"].variants):
        needed = [passes_for(record, target) for record in study.seeds(task, key).values()]
        reached = [passes for passes in needed if passes is not None]
        if needed:
            cells = (
                [f"{statistics.mean(reached):.2f}", f"{min(reached):.2f} – {max(reached):.2f}"]
                if reached
                else ["", ""]
            )
            lines.append([f"`{key}`", *cells, f"{len(reached)} of {len(needed)}"])
    return rows((f"to {100 * target:.1f} %", "passes", "least – most", "seeds that get there"), lines)


def claims_table(study: Study) -> list[str]:
    """Every claim with its verdict; empty if nothing has been run."""
    judgements = judge(study)
    if all(j.estimate is None for j in judgements):
        return []
    lines = [
        [
            j.claim.text,
            j.claim.source,
            f"{j.claim.task}: {j.claim.what}",
            points(j.estimate),
            "" if j.p_value is None else probability(j.p_value),
            f"**{j.verdict}**",
        ]
        for j in judgements
    ]
    return rows(("claim", "of", "difference", "points", "p", "verdict"), lines)


def verdicts(study: Study) -> list[str]:
    """The claims in short: those that were decided by name, the others by number."""
    judgements = judge(study)
    found = {v: [j.claim for j in judgements if j.verdict == v] for v in (SUPPORTED, CONTRADICTED, UNDECIDED, MISSING)}
    lines = []
    for verdict in (SUPPORTED, CONTRADICTED):
        lines += [f"- **{verdict.capitalize()}**: {len(found[verdict])} of {len(CLAIMS)} claims."]
        lines += [f"    - {claim.text} ({claim.task})." for claim in found[verdict]]
    return [*lines, f"- **Undecided**: {len(found[UNDECIDED])}. **Not run**: {len(found[MISSING])}."]


def power_table(study: Study) -> list[str]:
    """How large a difference must be for studies of so many seeds to find it."""
    judgements = [j for j in judge(study) if j.estimate is not None]
    spreads = [j.estimate.spread for j in judgements if j.estimate.seeds > 1]
    spread = statistics.median(spreads or [0.0])
    if not spread:
        return []
    lines = [
        [str(seeds), *(f"{100 * detectable(seeds, spread, LEVEL / tests):.1f}" for tests in (1, len(CLAIMS)))]
        for seeds in (3, 5, 8, 12)
    ]
    heads = (f"seeds (spread {100 * spread:.1f})", "alone", f"first of {len(CLAIMS)} claims")
    return rows(heads, lines)


def sections(study: Study) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of all that the page holds."""
    for group in GROUPS:
        for task in TASKS:
            yield f"{group} {task}", table(study, group, task)
            if GROUPS[group].learning_thresholds:
                yield f"{group}{LEARNED} {task}", learned_table(study, group, task)
    for task in TASKS:
        yield f"speed {task}", speed_table(study, task)
        yield f"tuning {task}", tuned_table(study, task)
    yield "claims", claims_table(study)
    yield "verdicts", verdicts(study)
    yield "power", power_table(study)


def filled(page: str, study: Study) -> str:
    """
    The page with its tables between `<!-- table NAME -->` and `<!-- end -->` as the study gives them.

    Raises:
        `ValueError`: If the page names a table that there is not.
    """
    known = dict(sections(study))

    def replace(match: re.Match) -> str:
        name = match.group(1)
        if name not in known:
            raise ValueError(f"The page asks for a table {name!r}. There are: {', '.join(known)}.")
        return f"<!-- table {name} -->\n" + "\n".join(known[name] or [NOTHING]) + "\n<!-- end -->"

    return re.sub(r"<!-- table ([^>]+) -->\n.*?<!-- end -->", replace, page, flags=re.DOTALL)


def _seconds(records: dict[int, Record]) -> float:
    return statistics.median(r.seconds for r in records.values()) if records else 0.0


def _area(study: Study, task: str, key: str) -> Estimate | None:
    if key == UNTRAINED or not study.seeds(task, UNTRAINED):
        return None
    return mean(study, task, key, partial(learning_curve, study))
