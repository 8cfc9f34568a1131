# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: metrics, and histograms in trackers."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.integrations import TrackioCallback, WandbCallback

from trl_diffusion.trainer.tracking import log_histograms


PAGE = Path(__file__).parent.parent / "docs" / "tracking.md"
RUNS = {
    "diffpo": {"regime": "joint", "beta": 0.1, "num_iterations": 2},
    "dmpo": {"objective": "wddo"},
    "agrpo": {
        "approximate_cache": "dual",
        "drift_check_rate": 1.0,
        "cache_min_ess": 0.9,
        "cache_refresh_interval": 2,
    },
    "diffu_grpo": {"loss_type": "cispo"},
    "coupled_grpo": {"loss_type": "vespo"},
    "uni_grpo": {"entropy_coef": 0.01},
    "espo": {"beta": 0.1},
    "spg": {},
    "wd1": {},
}


def table(title):
    """The rows of a table of the page: the names in the first column, and the others."""
    text = PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", names), rest) for names, *rest in rows]


def test_every_metric_is_on_the_page_and_every_one_on_the_page_is_logged(build):
    logged = {}
    for method, options in RUNS.items():
        trainer = build(method, max_steps=1, **options)
        trainer.train()
        names = {name for entry in trainer.state.log_history for name in entry}
        logged[method] = {re.sub(r"^rewards/digits/", "rewards/<function>/", name) for name in names}
    rows = table("Metrics")
    listed = [name for names, _ in rows for name in names]
    assert len(listed) == len(set(listed))
    assert set().union(*logged.values()) == set(listed)
    for names, (*_, when, _) in rows:
        if when == "always":
            assert all(set(names) <= found for found in logged.values()), names
        elif when != "at the end":
            assert not all(set(names) <= found for found in logged.values()), names


def histograms_of(build, callbacks=(), **options):
    """A run with histograms for these callbacks, and an evaluation after it."""
    options = {"log_histograms": True, "max_steps": 2, "entropy_bound": 0.8} | options
    trainer = build("diffpo", regime="joint", eval_dataset=Dataset.from_dict({"prompt": ["1+1=", "2="]}), **options)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    trainer.evaluate()
    return trainer


class Histogram:
    def __init__(self, sequence):
        self.values = np.asarray(sequence)


def fake(monkeypatch, name, **attributes):
    """A tracker's module, which keeps what is logged."""
    logged = []
    module = SimpleNamespace(log=logged.append, Histogram=Histogram, **attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return logged


def silent(callback_class):
    """The integration, without its tracker."""
    names = [name for name in dir(TrainerCallback) if name.startswith("on_")]
    methods = {name: getattr(TrainerCallback, name) for name in names} | {"__init__": lambda self: None}
    return type("Silent", (callback_class,), methods)()


@pytest.mark.parametrize(("module", "callback"), [("wandb", WandbCallback), ("trackio", TrackioCallback)])
def test_histograms_in_wandb_and_trackio(build, monkeypatch, module, callback):
    """Those of the page; their means are the metrics of the same name."""
    sent = fake(monkeypatch, module, run=object())
    trainer = histograms_of(build, [silent(callback)])
    assert [entry["train/global_step"] for entry in sent] == [1, 2, 2]
    names = {name for names, _ in table("Histograms") for name in names}
    scalars = [entry for entry in trainer.state.log_history if "sampler/nfe" in entry or "eval_sampler/nfe" in entry]
    for entry, values, prefix in zip(sent, scalars, ("train/", "train/", "eval/"), strict=True):
        assert {key.removeprefix(prefix) for key in entry} == names | {"train/global_step".removeprefix(prefix)}
        for name in names:
            metric = name.removesuffix("_histogram").replace("/histogram", "/mean")
            if prefix == "eval/":  # where the metric is a mean of means: of batches, which have the same shape
                metric = f"eval_{metric}"
            if metric != "eval_sampler/confidence":
                assert entry[prefix + name].values.mean() == pytest.approx(values[metric], rel=1e-5)
    assert sent[0]["train/sampler/nfe_histogram"].values.shape == (4,)
    assert sent[0]["train/threshold/histogram"].values.shape == (4,)


def test_a_tracker_of_a_process_without_a_run_gets_none(monkeypatch):
    sent = fake(monkeypatch, "wandb", run=None)
    log_histograms({"nfe": torch.ones(2)}, 1, [silent(WandbCallback)])
    assert sent == []


def test_histograms_in_tensorboard(build, tmp_path, monkeypatch):
    """Read back from its files."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "runs"))
    trainer = histograms_of(build, report_to="tensorboard")
    # A writer for training, and one for the evaluation after it.
    found = {}
    for file in (tmp_path / "runs").glob("events*"):
        events = accumulator.EventAccumulator(str(file), {accumulator.HISTOGRAMS: 0, accumulator.SCALARS: 0})
        events.Reload()
        for name in events.Tags()["histograms"]:
            found[name] = [(event.step, event.histogram_value) for event in events.Histograms(name)]
        assert not set(events.Tags()["histograms"]) & set(events.Tags()["scalars"])
    logged = [entry["sampler/nfe"] for entry in trainer.state.log_history if "sampler/nfe" in entry]
    nfe = found["train/sampler/nfe_histogram"]
    assert [step for step, _ in nfe] == [1, 2]
    assert [value.sum / value.num for _, value in nfe] == pytest.approx(logged)
    assert {value.num for _, value in found["train/threshold/histogram"]} == {4}
    assert "eval/sampler/nfe_histogram" in found


def test_histograms_are_asked_for(build, monkeypatch):
    sent = fake(monkeypatch, "wandb", run=object())
    trainer = histograms_of(build, [silent(WandbCallback)], log_histograms=False)
    assert sent == [] and not any("histogram" in name for entry in trainer.state.log_history for name in entry)


def test_nothing_is_tracked_without_a_tracker(build, monkeypatch):
    sent = [fake(monkeypatch, name, run=object()) for name in ("wandb", "trackio")]
    trainer = histograms_of(build, report_to="none")
    assert sent == [[], []] and not any(trainer._histograms.values())


def test_histograms_span_the_logs(build, monkeypatch):
    """Of all rollouts since the last log, as the metrics are."""
    sent = fake(monkeypatch, "wandb", run=object())
    histograms_of(build, [silent(WandbCallback)], logging_steps=2)
    assert sent[0]["train/sampler/nfe_histogram"].values.shape == (8,)
