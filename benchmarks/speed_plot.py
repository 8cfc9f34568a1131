# SPDX-License-Identifier: Apache-2.0
"""The picture of what `speed.py` has measured."""

from matplotlib.figure import Figure


OURS, PLAIN = "#1f6feb", "#8a8f98"
RATIOS = (
    "rollout-head",
    "rollout-trunk",
    "rollout-8b",
    "rollout-adaptive",
    "update-head",
    "update-trunk",
    "update-two-times",
)


def draw(results, path):
    """Ratios beside what fewer FLOPs alone would give, time against useful work, and where an update's time goes."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    ratios, work, split = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])

    names = [name for name in RATIOS if name in results][::-1]
    places = range(len(names))
    ratios.barh(places, [results[name]["ratio"] for name in names], color=OURS, label="measured")
    ratios.plot(
        [results[name]["flops_ratio"] for name in names],
        places,
        "|",
        color="black",
        markersize=14,
        label="fewer FLOPs",
    )
    for place, name in zip(places, names, strict=True):
        end = max(results[name]["ratio"], results[name]["flops_ratio"])
        ratios.text(end, place, f"  {results[name]['ratio']:.1f}x", va="center")
    ratios.set_yticks(list(places), names)
    ratios.set_xscale("log")
    ratios.set_xlabel("times faster than the plain implementation")
    ratios.set_xlim(1, 40)
    ratios.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ratios.minorticks_off()
    ratios.legend(loc="lower right", frameon=False)

    points = results["scaling"]["points"]
    seconds = [point["seconds"] for point in points]
    work.plot([p["batch_waits_for"] for p in points], seconds, "x", color=PLAIN, label="rows x passes of the longest")
    work.plot([p["row_forwards"] for p in points], seconds, "o", color=OURS, label="useful row-forwards")
    work.set_xlabel("canvases")
    work.set_ylabel("seconds per rollout")
    work.set_xlim(left=0)
    work.set_ylim(bottom=0)
    work.legend(frameon=False)

    parts = sorted(results["step"].items(), key=lambda item: item[1])
    split.barh([name for name, _ in parts], [share for _, share in parts], color=OURS)
    split.set_xlabel("share of an update's time")
    for axes in (ratios, work, split):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
