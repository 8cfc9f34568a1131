# SPDX-License-Identifier: Apache-2.0
"""What the study prints, and the page that holds the same."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from .claims import CONTRADICTED, EQUAL, LEVEL, MISSING, SUPPORTED, UNDECIDED, Judgement, judge
from .inference import detectable, holm, satterthwaite
from .markdown import percent, points, probability, rows
from .outcomes import (
    CURVE,
    EQUAL_PASSES,
    GREEDY,
    ONE_PER_PASS,
    SAMPLED,
    difference,
    in_passes,
    mean,
    over_frontier,
    passes_for,
    prior,
    scale_of,
)
from .protocol import TASKS, clusters
from .records import Record, Study
from .tuning import tuning_table
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
    equal = in_passes(passes)
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
                percent(mean(study, task, key, SAMPLED)),
                percent(mean(study, task, key, GREEDY)),
                f"{statistics.mean(r.answers['bound 0.1'].passes for r in records.values()):.2f}",
                percent(mean(study, task, key, ONE_PER_PASS)),
                percent(_area(study, task, key)),
                percent(mean(study, task, key, equal)),
                points(known.get(key)),
                probability(adjusted[key]) if key in adjusted else "",
                f"{seconds / fastest:.2f}" if seconds and fastest else "",
            ]
        )
    heads = (
        "variant", "", "seeds", "sampled", "greedy", "passes", "one per pass", "curve",
        f"in {passes:g} passes", f"difference from `{about.baseline}`", "p", "time",
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
        "difference from `untrained`",
        f"from `{baseline}`",
        "from its own bounds",
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


def claims_table(judgements: list[Judgement]) -> list[str]:
    """Every claim with its verdict; empty if nothing has been run."""
    if all(j.estimate is None for j in judgements):
        return []
    lines = [
        [
            j.claim.family,
            j.claim.text,
            f"{j.claim.task}: {j.claim.what}",
            points(j.estimate),
            "" if j.p_value is None else probability(j.p_value),
            f"**{j.verdict}**",
        ]
        for j in judgements
    ]
    return rows(("family", "claim", "difference", "points", "p", "verdict"), lines)


def verdicts(judgements: list[Judgement]) -> list[str]:
    """The claims in short: those that were decided by name, the others by number."""
    found = {v: [j.claim for j in judgements if j.verdict == v] for v in (SUPPORTED, CONTRADICTED, EQUAL)}
    lines = []
    for verdict, claims in found.items():
        lines += [f"- **{verdict.capitalize()}**: {len(claims)} of {len(judgements)} claims."]
        lines += [f"    - {claim.family}: {claim.text[0].lower()}{claim.text[1:]} ({claim.task})." for claim in claims]
    undecided, missing = (sum(j.verdict == v for j in judgements) for v in (UNDECIDED, MISSING))
    return [*lines, f"- **Undecided**: {undecided}. **Not run**: {missing}."]


def power_table(study: Study, judgements: list[Judgement]) -> list[str]:
    """How large a difference of two trained variants on Sudoku must be for studies of so many seeds to find it."""
    typical = prior(study, "sudoku", EQUAL_PASSES)
    known = [j.estimate for j in judgements if j.estimate and j.claim.what.startswith(EQUAL_PASSES.name)]
    if typical is None or not known:
        return []
    of_problems = statistics.median(e.parts[-1][0] for e in known)
    problems = len(set(clusters(TASKS["sudoku"], scale_of(study, "sudoku"))))
    families = [j.claim.family for j in judgements]
    tests = max(map(families.count, families))
    lines = []
    for seeds in (3, 5, 8, 12):
        of_seeds = (typical.variance / seeds, typical.freedom + seeds - 1)
        parts = [of_seeds, of_seeds, (of_problems, problems - 1)]
        error = sum(part for part, _ in parts) ** 0.5
        found = (detectable(error, satterthwaite(parts), LEVEL / n) for n in (1, tests))
        lines.append([str(seeds), *(f"{100 * difference:.1f}" for difference in found)])
    return rows(("seeds", "a single test", f"the strictest of {tests}"), lines)


def sections(study: Study) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of all that the page holds."""
    for group in GROUPS:
        for task in TASKS:
            yield f"{group} {task}", table(study, group, task)
            if GROUPS[group].learning_thresholds:
                yield f"{group}{LEARNED} {task}", learned_table(study, group, task)
    for task in TASKS:
        yield f"speed {task}", speed_table(study, task)
        yield f"tuning {task}", tuning_table(study, task)
    judgements = judge(study)
    yield "claims", claims_table(judgements)
    yield "verdicts", verdicts(judgements)
    yield "power", power_table(study, judgements)


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


def _area(study: Study, task: str, key: str) -> float | None:
    return None if key == UNTRAINED or not study.seeds(task, UNTRAINED) else mean(study, task, key, CURVE)
