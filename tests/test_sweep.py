# SPDX-License-Identifier: Apache-2.0
"""Frontiers over many decoders, kept in a file, and the pictures."""

import json
import math
import random
from dataclasses import replace

import pytest
from datasets import Dataset

from trl_diffusion import DiffusionGenerationConfig
from trl_diffusion.evaluation import (
    Evaluation,
    LikelihoodGap,
    ThresholdUse,
    evaluate,
    frontier,
    frontier_settings,
    generate,
    load_generations,
    load_sweep,
    score,
    sweep,
)
from trl_diffusion.evaluation.frontiers import names_and_conditions

from .conftest import make_model


CONFIG = DiffusionGenerationConfig(max_new_tokens=8, block_length=4)


@pytest.fixture(scope="module")
def dataset():
    return Dataset.from_dict({"prompt": ["1+1=", "12+3=", "7=", "9-1="], "goal": ["2", "15", "7", "8"]})


@pytest.fixture(scope="module")
def settings():
    return frontier_settings(CONFIG, entropy_bounds=(0.1, 2.0), confidence_thresholds=(0.5,), tokens_per_step=(2,))


def reward(completions, goal, **kwargs):
    return [float(len(text) % 2 == len(g) % 2) for text, g in zip(completions, goal, strict=True)]


def without_time(evaluations):
    return [replace(e, seconds=0, tokens_per_second=0) for e in evaluations]


def counted(monkeypatch):
    """The decoders that are run from now on."""
    ran = []

    def counting(*args, **kwargs):
        ran.append(args[3])
        return generate(*args, **kwargs)

    monkeypatch.setattr("trl_diffusion.evaluation.frontiers.generate", counting)
    return ran


def test_a_frontier_holds_what_nothing_beats():
    """Against the definition, with ties: as good at a higher cost is no better."""
    rng = random.Random(0)
    point = Evaluation(0.0, (0.0, 1.0), 1.0, 1.0, 4, 1.0, {})
    for _ in range(100):
        every = {(rng.randint(1, 5), rng.randint(0, 4) / 4) for _ in range(8)}
        points = [replace(point, nfe=nfe, accuracy=accuracy) for nfe, accuracy in every]
        unbeaten = {
            (nfe, accuracy)
            for nfe, accuracy in every
            if not any(n <= nfe and a >= accuracy for n, a in every - {(nfe, accuracy)})
        }
        assert [(p.nfe, p.accuracy) for p in frontier(points + points)] == sorted(unbeaten)


def test_a_grid_without_meaning():
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"`tokens_per_step` must be at least 1, got {n}"):
            frontier_settings(CONFIG, tokens_per_step=(1, n))
    fixed = [s for s in frontier_settings(CONFIG, tokens_per_step=(1, 3, 4, 100)) if s.max_denoising_steps]
    assert [s.max_denoising_steps for s in fixed] == [8, 2, 2]


def test_a_grid_is_searched_without_the_learned_threshold():
    settings = frontier_settings(replace(CONFIG, learned_threshold="greedy"))
    assert {s.learned_threshold for s in settings} == {"off"} and len(settings) > 20


def test_names_tell_what_points_do_not_have_in_common():
    cold, hot = (
        Evaluation(0.0, (0.0, 1.0), 1.0, 1.0, 4, 1.0, replace(CONFIG, temperature=t, entropy_bound=t).describe())
        for t in (0.0, 1.0)
    )
    canvas = "max_new_tokens 8, block_length 4"
    assert names_and_conditions({"a": [cold], "b": [cold]}) == ({"a": "a", "b": "b"}, f"temperature 0.0, {canvas}")
    names, shared = names_and_conditions({"a": [cold], "b": [hot, cold]})
    assert names == {
        "a": f"a (temperature 0.0, {canvas})",
        "b": f"b (temperature 0.0, {canvas}; temperature 1.0, {canvas})",
    }
    assert shared == "" and names_and_conditions({}) == ({}, "")


def test_a_sweep_is_one_evaluation_per_decoder(tokenizer, dataset, settings, tmp_path):
    model = make_model(len(tokenizer))
    points = sweep(model, tokenizer, dataset, reward, settings, tmp_path / "s.jsonl")
    expected = [evaluate(model, tokenizer, dataset, reward, config) for config in settings]
    assert without_time(points) == without_time(expected)
    assert load_sweep(tmp_path / "s.jsonl") == {"model": points}
    assert [p.decoder["unmasking"] for p in points] == [s.unmasking for s in settings] and frontier(points)


def test_a_sweep_goes_on_where_it_was(tokenizer, dataset, settings, tmp_path, monkeypatch):
    model, path = make_model(len(tokenizer)), tmp_path / "s.jsonl"
    ran = counted(monkeypatch)

    def dies(completions, **kwargs):
        if len(ran) == 3:
            raise KeyboardInterrupt
        return reward(completions, **kwargs)

    dies.__name__ = "reward"
    with pytest.raises(KeyboardInterrupt):
        sweep(model, tokenizer, dataset, dies, settings, path)
    assert len(load_sweep(path)["model"]) == 2
    ran.clear()
    points = sweep(model, tokenizer, dataset, reward, settings, path)
    assert ran == settings[2:] and len(points) == 4
    ran.clear()
    more = [replace(settings[0], max_batch_size=1), replace(settings[0], entropy_bound=0.7)]
    assert sweep(model, tokenizer, dataset, reward, more, path)[0] == points[0] and ran == more[1:]


def test_several_checkpoints_in_one_file(tokenizer, dataset, settings, tmp_path):
    path = tmp_path / "s.jsonl"
    for name, seed in (("before", 0), ("after", 1)):
        sweep(
            make_model(len(tokenizer), seed=seed),
            tokenizer,
            dataset,
            reward,
            settings[:2],
            path,
            name=name,
            num_samples=2,
            generations_dir=tmp_path / "samples",
        )
    loaded = load_sweep(path)
    assert list(loaded) == ["before", "after"] and loaded["before"] != loaded["after"]
    assert loaded["after"][0].pass_at.keys() == {1, 2}
    kept = [score(load_generations(p), reward) for p in (tmp_path / "samples").iterdir()]
    assert sorted(e.nfe for e in kept) == sorted(e.nfe for points in loaded.values() for e in points)


def test_points_that_cannot_be_compared_are_refused(tokenizer, dataset, settings, tmp_path):
    path, model = tmp_path / "s.jsonl", make_model(len(tokenizer))
    usual = {"dataset": dataset, "reward": reward, "settings": settings[:1], "path": path}
    sweep(model, tokenizer, **usual)

    def another_reward(completions, **kwargs):
        return [0.0] * len(completions)

    for change, message in (
        ({"seed": 1}, "another `seed`, 0 instead of 1"),
        ({"num_samples": 2}, "another `num_samples`"),
        ({"dataset": dataset.select([0])}, "another `dataset`"),
        ({"reward": another_reward}, "another `reward`, 'reward' instead of 'another_reward'"),
    ):
        with pytest.raises(ValueError, match=rf"`path`: .*{message}"):
            sweep(model, tokenizer, **usual | change)
    with pytest.raises(ValueError, match="`name`: .* points of another model called 'model'"):
        sweep(make_model(len(tokenizer), seed=1), tokenizer, **usual)
    with pytest.raises(ValueError, match=r"another model called 'model' \(its weights, dtype\)"):
        sweep(make_model(len(tokenizer)).half(), tokenizer, **usual)
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="no file of a sweep"):
        load_sweep(path)


def test_another_chat_template_is_another_model(tokenizer, settings, tmp_path, monkeypatch):
    """The weights are the same, and what they read is not."""
    asked = Dataset.from_dict({"prompt": [[{"role": "user", "content": "1+1="}]], "goal": ["2"]})
    model, path = make_model(len(tokenizer)), tmp_path / "s.jsonl"
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    for template in (plain, f"1{plain}"):
        monkeypatch.setattr(tokenizer, "chat_template", template)
        sweep(model, tokenizer, asked, reward, settings[:1], path, name=template)
        assert len(sweep(model, tokenizer, asked, reward, settings[:1], path, name=template)) == 1
    with pytest.raises(ValueError, match="the same problems as other tokens: the tokenizer or its chat template"):
        sweep(model, tokenizer, asked, reward, settings[:1], path, name=plain)


SWEEPS = {
    "no dataset": (lambda h, p: [without(h, "dataset"), p], "header of .*s.jsonl is damaged: it has no `dataset`"),
    "an object": (lambda h, p: [h, '{"a": 1}'], r"line 2 of .*s.jsonl is damaged \(it has no `name`\)"),
    "a list": (lambda h, p: [h, p, "[1]"], r"line 3 of .* is damaged \(it is no JSON object, but \[1\]\)"),
    "half a line": (lambda h, p: [h, p[:30]], "line 2 of .*sweep again with the same arguments"),
    "no pass@k": (lambda h, p: [h, evaluated(p, "pass_at", None)], "`evaluation.pass_at` must be an object"),
    "text": (lambda h, p: [h, evaluated(p, "nfe", "8")], "`evaluation.nfe` must be a number, and is '8'"),
    "another figure": (lambda h, p: [h, evaluated(p, "foo", 1)], "`evaluation.foo` is no figure"),
}


def without(line, name):
    return json.dumps({key: value for key, value in json.loads(line).items() if key != name})


def evaluated(point, name, value):
    point = json.loads(point)
    return json.dumps(point | {"evaluation": point["evaluation"] | {name: value}})


@pytest.mark.parametrize(("change", "message"), SWEEPS.values(), ids=SWEEPS)
def test_damaged_sweeps_are_refused(tokenizer, dataset, settings, tmp_path, change, message):
    path, model = tmp_path / "s.jsonl", make_model(len(tokenizer))
    sweep(model, tokenizer, dataset, reward, settings[:1], path)
    path.write_text("".join(f"{line}\n" for line in change(*path.read_text().splitlines())))
    for read in (load_sweep, lambda p: sweep(model, tokenizer, dataset, reward, settings[:1], p)):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_a_sweep_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nope.jsonl does not exist.*`trl-diffusion frontier`"):
        load_sweep(tmp_path / "nope.jsonl")
    with pytest.raises(ValueError, match="is a folder"):
        load_sweep(tmp_path)


def test_pictures(tokenizer, dataset, settings, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    from trl_diffusion.evaluation import plots

    points = sweep(make_model(len(tokenizer)), tokenizer, dataset, reward, settings, tmp_path / "s.jsonl")
    plots.plot_frontiers({"before": points, "after": points[:2]}, tmp_path / "frontiers.png", title="A title")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plots.plot_frontiers({"one": points}, tmp_path / "f.svg", problems="sudoku, test")
        hot = [replace(p, decoder=p.decoder | {"temperature": 0.5}) for p in points]
        plots.plot_frontiers({"one": points, "two": hot}, tmp_path / "g.svg")
    shared, apart = ((tmp_path / name).read_text() for name in ("f.svg", "g.svg"))
    assert shared.count("temperature 1.0, max_new_tokens 8, block_length 4") == 1 and ">one<" in shared
    assert f"accuracy on {points[0].prompts} prompts (sudoku, test)" in shared and "held-out" not in shared
    assert f"accuracy on {points[0].prompts} prompts<" in apart
    more = [replace(points[0], prompts=points[0].prompts + 5)]
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plots.plot_run([], {"greedy": points}, {"greedy": more}, tmp_path / "h.svg")
    both = f"accuracy on {points[0].prompts} to {points[0].prompts + 5} prompts<"
    assert both in (tmp_path / "h.svg").read_text()
    assert "one (temperature 1.0, " in apart and "two (temperature 0.5, " in apart
    uses = [
        ThresholdUse(0.1, 0.7, 0.9, 0.5, (0.4, 0.6), 8.0, 0.4, (0.3, 0.6), 8.5),
        ThresholdUse(1.0, 0.3, 0.1, float("nan"), (0.0, 1.0), float("nan"), None, None, None),
    ]
    plots.plot_calibration(uses, tmp_path / "calibration.png")
    plots.plot_calibration(
        [replace(use, greedy_share=None, accuracy_if_always=None, nfe_if_always=None) for use in uses],
        tmp_path / "c.svg",
    )
    for name, begin in (("frontiers.png", b"\x89PNG"), ("calibration.png", b"\x89PNG"), ("c.svg", b"<?xml")):
        assert (tmp_path / name).read_bytes().startswith(begin)


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the pictures that would have been written."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: axes.extend(figure.axes))
    return axes


def test_picture_of_a_calibration_has_the_whole_table(drawn):
    from trl_diffusion.evaluation import plots

    uses = [
        ThresholdUse(0.1, 0.7, 0.9, 0.5, (0.4, 0.6), 8.0, 0.4, (0.3, 0.6), 8.5),
        ThresholdUse(1.0, 0.3, 0.1, 0.8, (0.7, 0.9), 2.0, 0.6, (0.5, 0.7), 3.5),
    ]
    plots.plot_calibration(uses, "calibration.png")
    share, accuracy, passes = drawn
    assert [bar.get_height() for bar in share.patches] == [0.7, 0.3, 0.9, 0.1]
    assert [bars[0].get_ydata().tolist() for bars in accuracy.containers] == [[0.5, 0.8], [0.4, 0.6]]
    assert [line.get_ydata().tolist() for line in passes.lines] == [[8.0, 2.0], [8.5, 3.5]]
    for axes in (accuracy, passes):
        names = [text.get_text() for text in axes.get_legend().get_texts()]
        assert names == ["where drawn", "if drawn for every prompt"]
    assert [tick.get_text() for tick in passes.get_xticklabels()] == ["0.1", "1"]


def test_picture_of_the_likelihood_gap(drawn):
    """Lines and bands are the figures; a band ends at 0, and there is none where the error is unknown."""
    from trl_diffusion.evaluation import plots

    gaps = {
        "one": LikelihoodGap([0.0, 0.1, 0.3, 0.2], [0.0, 0.1, 0.05, math.nan]),
        "two": LikelihoodGap([0.0, 0.05], [0.0, 0.01]),
    }
    plots.plot_likelihood_gap(gaps, "gap.png")
    (axes,) = drawn
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.0, 0.1, 0.3, 0.2], [0.0, 0.05]]
    heights = sorted({round(y, 3) for path in axes.collections[0].get_paths() for _, y in path.vertices.tolist()})
    assert heights == [0.0, 0.202, 0.296, 0.398]
