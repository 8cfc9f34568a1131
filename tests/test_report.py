# SPDX-License-Identifier: Apache-2.0
"""The page of a run."""

import itertools
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import embedded
from trl_diffusion.cli.main import main
from trl_diffusion.cli.report import completions
from trl_diffusion.evaluation import Generations, generate, load_generations, rewards_of, score
from trl_diffusion.evaluation.comparison import compare_judged
from trl_diffusion.generation import Trajectory
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.tasks import sudoku
from trl_diffusion.visualization import colour_of
from trl_diffusion.visualization.canvas import token_texts
from trl_diffusion.visualization.charts import chart, ticks, ticks_of_logarithms
from trl_diffusion.visualization.report import render_report
from trl_diffusion.visualization.report_rollouts import first_and_last

from .tokenizers_of_pieces import make_tokenizer


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._script = tag == "script"

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts.append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def generations(tmp_path_factory):
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    file = tmp_path_factory.mktemp("report") / "samples.jsonl"
    return file, generate(model, tokenizer, sudoku.make_dataset("test", 4), None, file), tokenizer


def test_samples_can_be_watched_step_by_step(generations):
    """At every step, what the page shows is what the model saw."""
    _, made, tokenizer = generations
    page = Page(render_report("a run", samples={"model": made}, tokenizer=tokenizer, max_samples=3))
    shown = page.data["model"]["samples"]
    colours = json.loads(re.search(r"const colours = (.*?);", page.scripts[-1]).group(1))
    assert [colours[0], colours[-1]] == [[colour_of(0), "#ffffff"], [colour_of(1), "#000000"]]
    assert [sample["prompt"] for sample in shown] == [[[None, sample.prompt]] for sample in made.samples[:3]]
    for seen, sample in zip(shown, made.samples):
        record, (seen,) = sample.trajectory, seen["answers"]
        assert seen["passes"] == record.nfe.item()
        for step in range(seen["passes"] + 1):
            state = record.state_before(step, mask_token_id=1)[0].tolist()
            visible = [text if 0 <= written < step else "░" for text, written, _ in seen["tokens"]]
            assert visible == [
                "░" if token == 1 else "■" if token == 0 else tokenizer.decode([token]) for token in state
            ]


class Browser:
    """A page with its script running, in an engine that browsers have, and elements that are made of its tags."""

    def __init__(self, page):
        engine = pytest.importorskip("py_mini_racer", reason="`mini-racer` is among the development packages")
        self.eval = engine.MiniRacer().eval
        self.eval(Path(__file__).with_name("dom.js").read_text())
        for tag, attributes in page.tags:
            if "id" in attributes:
                made = f"new Element({json.dumps(tag)}, {json.dumps(attributes)})"
                self.eval(f"elements[{json.dumps(attributes['id'])}] = {made}; 0")
        self.eval(f"elements.data.textContent = {json.dumps(page.scripts[0])}; 0")
        self.eval(page.scripts[1])

    @property
    def shown(self):
        return json.loads(self.eval("shown()"))

    def choose(self, element, value, event):
        self.eval(f"set({json.dumps(element)}, {json.dumps(value)}, {json.dumps(event)})")


def tokens_of(shown):
    """Of the only answer."""
    (answer,) = shown["answers"]
    return answer["tokens"]


def test_the_slider_shows_what_the_model_saw(generations):
    _, made, tokenizer = generations
    browser = Browser(Page(render_report("a run", samples={"model": made}, tokenizer=tokenizer)))
    first = browser.shown
    assert not first["hidden"] and first["sets"] == ["model"] and first["place"] == "1 of 4, problem 1"
    for number, sample in enumerate(made.samples):
        record, passes = sample.trajectory, sample.nfe
        assert (
            browser.shown["prompt"] == [[sample.prompt]] and browser.shown["step"] == passes
        )  # begins with the answer
        assert browser.shown["columns"] == ["puzzle", sample.columns["puzzle"], "solution", sample.columns["solution"]]
        for step in range(passes + 1):
            browser.choose("step", step, "input")
            shown = browser.shown
            assert shown["count"] == f"after {step} of {passes} passes"
            assert shown["place"] == f"{number + 1} of 4, problem {number + 1}"
            state, written = record.state_before(step, mask_token_id=1)[0].tolist(), record.unmask_step[0].tolist()
            for (text, kind, colour, title), token, when in zip(tokens_of(shown), state, written, strict=True):
                if token == 1:
                    assert (text, kind, colour, title) == ("░", "mask", "", "")
                else:
                    assert text == ("■" if token == 0 else tokenizer.decode([token]))
                    assert kind == ("new" if when == step - 1 else "") and title == f"pass {when + 1}"
                    nearest = round(63 * when / max(passes - 1, 1))  # of 64 colours
                    assert colour == colour_of(nearest / 63)
        browser.eval("click('next')")
    assert browser.shown == first  # the last one is followed by the first
    browser.eval("click('previous')")
    assert browser.shown["place"] == "4 of 4, problem 4" and browser.shown["prompt"] == [[made.samples[-1].prompt]]


def test_the_wrong_ones_can_be_looked_at_alone(generations):
    _, made, tokenizer = generations
    rewards = {"model": [1.0, 0.5, None, 0.0]}
    browser = Browser(Page(render_report("a run", samples={"model": made}, tokenizer=tokenizer, rewards=rewards)))
    verdicts = []
    for _ in range(4):
        verdicts.append(browser.shown["answers"][0]["head"].split(" · ")[1])
        browser.eval("click('next')")
    assert verdicts == ["right", "wrong", "not judged", "wrong"]
    assert browser.shown["kinds"] == ["all 4", "not judged: 1", "right: 1", "wrong: 2"]
    browser.choose("kind", "wrong", "change")
    places = []
    for _ in range(3):
        places.append(browser.shown["place"])
        browser.eval("click('next')")
    assert places == ["1 of 2, problem 2", "2 of 2, problem 4", "1 of 2, problem 2"]
    unjudged = Browser(Page(render_report("a run", samples={"model": made}, tokenizer=tokenizer)))
    assert unjudged.shown["kinds"] == ["all 4"]
    assert unjudged.shown["answers"][0]["head"] == f"model · {made.samples[0].nfe} passes"


def test_what_went_wrong_is_shown_wherever_it_stands(generations):
    _, made, tokenizer = generations
    data = {"samples": {"model": made}, "tokenizer": tokenizer, "rewards": {"model": [1.0, 0.0, 1.0, 0.0]}}
    shown = Page(render_report("a run", **data, max_samples=1)).data["model"]
    assert [sample["problem"] for sample in shown["samples"]] == [1, 2]  # no more than as many again
    assert shown["note"] == "The first 1 of 4, and 1 of the others that are wrong."


def test_the_same_problems_before_and_after_stand_side_by_side(generations):
    """The slider moves both, and a colour is the same pass in both."""
    _, made, tokenizer = generations
    faster = []
    for sample in made.samples:  # in one pass
        record = Trajectory(
            **vars(sample.trajectory)
            | {"unmask_step": torch.zeros_like(sample.trajectory.unmask_step), "nfe": torch.tensor([1])}
        )
        faster.append(replace(sample, trajectory=record))
    sets = {"before": made, "after": Generations(made.header, faster)}
    rewards = {"before": [1.0, 1.0, 0.0, 0.0], "after": [1.0, 0.0, 1.0, 0.0]}
    page = Page(render_report("a run", samples=sets, tokenizer=tokenizer, rewards=rewards))
    assert list(page.data) == ["before, after"]
    browser = Browser(page)
    assert browser.shown["kinds"] == ["all 4", "gained: 1", "lost: 1", "still right: 1", "still wrong: 1"]
    assert browser.eval("elements.sets.hidden") is True
    browser.choose("kind", "lost", "change")
    passes = made.samples[1].nfe
    before, after = browser.shown["answers"]
    assert browser.shown["place"] == "1 of 1, problem 2" and browser.shown["step"] == passes > 1
    assert before["head"] == f"before · right · {passes} passes" and after["head"] == "after · wrong · 1 pass"
    assert {colour for _, _, colour, _ in after["tokens"]} == {colour_of(0)}
    colours = {title: colour for _, _, colour, title in before["tokens"]}
    assert colours["pass 1"] == colour_of(0) and colours[f"pass {passes}"] == colour_of(1)
    browser.choose("step", 1, "input")
    before, after = browser.shown["answers"]
    assert "░" in {text for text, *_ in before["tokens"]} and "░" not in {text for text, *_ in after["tokens"]}


def test_roles_of_a_conversation_stand_apart(generations):
    _, made, tokenizer = generations
    messages = [
        {"role": "system", "content": "Be brief. </script>"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "1 +"}, {"type": "text", "text": " 1?"}, {"type": "image"}],
        },
        {"role": "assistant", "content": None},
    ]
    asked = Generations(made.header, [replace(made.samples[0], prompt=messages)])
    browser = Browser(Page(render_report("a run", samples={"model": asked}, tokenizer=tokenizer)))
    assert browser.shown["prompt"] == [
        ["system", "Be brief. </script>"],
        ["user", "1 + 1?[image]"],
        ["assistant", ""],
    ]


def test_characters_of_several_tokens_are_whole(generations):
    """They appear when the last of their tokens is written, wherever it stands; until then there are marks."""
    text, tokenizer = "8 × 9 = 72 €, 好", make_tokenizer("bytes")
    ids = tokenizer(text, add_special_tokens=False).input_ids
    backwards = list(range(len(ids)))[::-1]
    record = Trajectory(
        **vars(generations[1].samples[0].trajectory)
        | {
            "completion_ids": torch.tensor([ids]),
            "unmask_step": torch.tensor([backwards]),
            "nfe": torch.tensor([len(ids)]),
        }
    )
    made = Generations(generations[1].header, [replace(generations[1].samples[0], trajectory=record)])
    browser = Browser(Page(render_report("a run", samples={"model": made}, tokenizer=tokenizer)))
    assert len(ids) > len(text) and "".join(token[0] for token in tokens_of(browser.shown)) == text
    for step in range(len(ids)):
        browser.choose("step", step, "input")
        written = [when < step for when in backwards]
        shown = "".join(token[0] for token in tokens_of(browser.shown)).lstrip("░")
        assert shown == "".join(token_texts(tokenizer, ids, written))


def test_a_sample_can_be_played(generations):
    _, made, tokenizer = generations
    sets = {"one": made, "two": Generations(made.header, made.samples[2:])}
    browser = Browser(Page(render_report("a run", samples=sets, tokenizer=tokenizer)))
    browser.choose("set", "two", "change")
    assert browser.shown["place"] == "1 of 2, problem 3" and browser.shown["prompt"] == [[made.samples[2].prompt]]
    passes = made.samples[2].nfe
    browser.eval("click('play')")
    assert (browser.shown["step"], browser.shown["play"]) == (0, "⏸")
    for step in range(1, passes + 1):
        assert browser.eval("tick()") == 1 and browser.shown["step"] == step
        assert browser.shown["count"] == f"after {step} of {passes} passes"
    assert browser.eval("tick()") == 0 and (browser.shown["step"], browser.shown["play"]) == (passes, "▶")
    browser.eval("click('play'); tick(); click('play')")  # and paused
    assert browser.eval("tick()") == 0 and (browser.shown["step"], browser.shown["play"]) == (1, "▶")


def test_a_page_without_samples_has_no_place_for_them(generations):
    browser = Browser(Page(render_report("a run", evaluations={"one": score(generations[1], sudoku_reward)})))
    assert browser.shown["hidden"] and browser.shown["answers"] == []


def test_what_is_put_in_is_no_place_to_put_something_in(generations):
    _, made, tokenizer = generations
    title = "{{ samples }} {{ colours }} {{ nothing }}"
    text = render_report(title, samples={"{{ title }}": made}, tokenizer=tokenizer)
    assert f"<h1>{title}</h1>" in text and Page(text).data.keys() == {"{{ title }}"}


def test_nothing_that_a_model_writes_leaves_its_place(generations):
    class Hostile:
        def decode(self, ids):
            return "</script><script>alert(1)</script><!--"

    _, made, _ = generations
    page = Page(render_report("<b>title</b>", samples={"</script>": made}, tokenizer=Hostile()))
    assert sum(tag == "script" for tag, _ in page.tags) == 2 and "b" not in {tag for tag, _ in page.tags}
    assert "alert(1)" in page.data["</script>"]["samples"][0]["answers"][0]["tokens"][0][0]
    assert page.scripts[1].lstrip().startswith('"use strict"')


def test_it_needs_nothing_from_the_network(generations):
    _, made, tokenizer = generations
    text = render_report("a run", samples={"model": made}, tokenizer=tokenizer, log_history=[{"step": 1, "loss": 1.0}])
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", text)


def test_curves_are_those_of_the_run(build):
    trainer = build("diffpo", max_steps=3, beta=0.1)
    trainer.train()
    history = trainer.state.log_history
    text = render_report("a run", log_history=history)
    for title in ("reward", "forward passes per completion", "loss", "KL divergence to the reference"):
        assert f'aria-label="{title}"' in text
    svg = re.search(r'<svg[^>]*aria-label="loss".*?</svg>', text)[0]
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', svg)]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(heights) == 3 == len(losses)
    top, bottom = min(heights), max(heights)  # linear, and upside down
    for height, loss in zip(heights, losses):
        share = (loss - min(losses)) / (max(losses) - min(losses))
        assert height == pytest.approx(bottom - share * (bottom - top), abs=0.2)


def test_figures_of_evaluations_and_frontiers(generations):
    _, made, _ = generations
    evaluation = score(made, sudoku_reward)
    text = render_report("a run", evaluations={"one": evaluation}, sweeps={"one": [evaluation], "two": [evaluation]})
    assert f"{100 * evaluation.accuracy:.1f} %" in text and f"{evaluation.nfe:.2f}" in text
    assert text.count("<circle") == 2 and "Accuracy against forward passes" in text


def test_frontiers_have_intervals(generations):
    """A bar from the lower to the upper end through each point, all on the scale of the axis."""
    evaluation = score(generations[1], sudoku_reward)
    points = [
        replace(evaluation, nfe=2.0, accuracy=0.4, interval=(0.2, 0.6)),
        replace(evaluation, nfe=5.0, accuracy=0.9, interval=(0.8, 1.0)),
    ]
    text = render_report("a run", sweeps={"one": points})
    bars = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)" class="interval"', text)
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', text)
    assert len(bars) == len(circles) == 2
    scale = (float(circles[1][1]) - float(circles[0][1])) / (90 - 40)  # upside down
    for (x1, x2, y1, y2), (cx, cy), point in zip(bars, circles, points, strict=True):
        assert x1 == x2 == cx
        for y, end in ((y1, point.interval[0]), (y2, point.interval[1])):
            assert float(y) - float(cy) == pytest.approx(scale * 100 * (end - point.accuracy), abs=0.3)
    assert "temperature 1.0, max_new_tokens 20, block_length 20" in text


def test_points_that_others_beat_are_fainter(generations):
    """They are drawn, where they belong on the logarithmic axis, and not joined."""
    evaluation = score(generations[1], sudoku_reward)
    best, beaten = replace(evaluation, nfe=1.0, accuracy=0.9), replace(evaluation, nfe=4.0, accuracy=0.5)
    text = render_report("a run", sweeps={"one": [beaten, best, replace(best, nfe=16.0, accuracy=1.0)]})
    ((faint, _),) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="2" class="beside"', text)
    first, last = (float(x) for x, _ in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="2.5"', text))
    assert float(faint) == pytest.approx((first + last) / 2, abs=0.2)
    (line,) = re.findall(r'<polyline points="([^"]*)"', text)
    assert len(line.split()) == 2 and "Faint: decoders that another one beats." in text and "4 problems" in text
    assert "Faint" not in render_report("a run", sweeps={"one": [best]})


def test_samples_need_a_tokenizer(generations):
    with pytest.raises(ValueError, match="`samples` need their `tokenizer`"):
        render_report("a run", samples={"model": generations[1]})


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
@settings(max_examples=200, deadline=None)
def test_ticks_are_few_and_inside(low, width):
    values = ticks(low, low + width)
    assert 1 <= len(values) <= 10
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in values)
    steps = {round((b - a) / width, 6) for a, b in itertools.pairwise(values)}
    assert len(steps) <= 1


def test_ticks_of_logarithms():
    assert ticks_of_logarithms(1, 20) == [1, 2, 5, 10, 20] and ticks_of_logarithms(0.3, 3) == [0.5, 1, 2]
    assert ticks_of_logarithms(5.5, 9) == ticks(5.5, 9)
    assert chart("one place", {"a": [(1.0, 0.5)]}, "x", logarithmic=True).count("<circle") == 1


def test_charts_of_what_cannot_be_drawn():
    assert chart("nothing", {"a": [], "b": [(0.0, math.nan), (math.inf, 1.0)]}, "x") == ""
    assert chart("flat", {"a": [(1.0, 0.0)]}, "x").count("<circle") == 1


@pytest.mark.parametrize(
    ("value", "limits", "low", "high"),
    [
        (0.0, (0, 1), 0, 1),
        (1.0, (0, 1), 0, 1),
        (0.375, (0, 1), 0, 1),
        (17.0, None, 16, 18),
        (0.0, None, 0, 1),
        (1e-4, None, 0.9e-4, 1.1e-4),
        (-2.5, None, -2.75, -2.25),
    ],
)
def test_what_does_not_change_has_an_axis_that_makes_sense(value, limits, low, high):
    points = [(1.0, value), (2.0, value * (1 + 1e-9)), (3.0, value)]  # but for rounding
    marks = re.findall(r'text-anchor="end">([^<]*)<', chart("flat", {"a": points}, "x", limits=limits))
    assert all(low <= float(mark) <= high for mark in marks)
    assert len(marks) == len(set(marks)) >= 2 and (limits is None or [float(marks[0]), float(marks[-1])] == [0, 1])


def test_what_was_not_there_is_left_out():
    history = [{"step": step, "reward": 1.0, "kl": None if step == 2 else 0.5} for step in (1, 2, 3)]
    svg = re.search(r'<svg[^>]*aria-label="KL divergence.*?</svg>', render_report("a run", log_history=history))[0]
    assert svg.count("<circle") == 2


def test_shares_of_a_run_stay_from_zero_to_one():
    history = [{"step": step, "frac_reward_zero_std": 0.0, "clip_ratio/region_mean": 0.0} for step in (1, 2)]
    text = render_report("a run", log_history=history)
    charts = re.findall(r"<svg.*?</svg>", text)
    assert len(charts) == 2
    for svg in charts:
        marks = [float(mark) for mark in re.findall(r'text-anchor="end">([^<]*)<', svg)]
        assert (marks[0], marks[-1]) == (0, 1)


def test_narrow_windows(generations):
    """What is wide scrolls in its own place: a table, and no chart is wider than the page."""
    page = Page(render_report("a run", evaluations={"one": score(generations[1], sudoku_reward)}))
    before = {tag: page.tags[i - 1] for i, (tag, _) in enumerate(page.tags)}
    assert before["table"] == ("div", {"class": "wide", "tabindex": "0"})
    text = render_report("a run")
    assert ".wide { overflow-x: auto; }" in text and "minmax(min(380px, 100%), 1fr)" in text


def test_what_the_colours_mean_and_how_many_problems_there_were(generations):
    _, made, tokenizer = generations
    text = render_report(
        "a run", evaluations={"one": score(made, sudoku_reward)}, samples={"one": made}, tokenizer=tokenizer
    )
    assert '<th scope="col">problems</th>' in text and "<td>4</td>" in text
    legend = re.search(r'<p class="legend">.*?</p>', text, re.DOTALL)[0]
    for words in ("first pass", "last pass", "■ the end", "░ not written", colour_of(0), colour_of(1)):
        assert words in legend


def test_rewards_have_curves_of_their_parts():
    entry = {
        "reward": 1.5,
        "reward_std": 0.5,
        "rewards/right/mean": 1.0,
        "rewards/<tags>/mean": 0.5,
        "rewards/right/std": 0.1,
    }
    text = render_report("a run", log_history=[{"step": step} | entry for step in (1, 2)])
    assert 'aria-label="standard deviation of rewards"' in text
    svg = re.search(r'<svg[^>]*aria-label="reward by function".*?</svg>', text)[0]
    assert svg.count("<polyline") == 2 and "rewards/right/mean" in svg and "rewards/&lt;tags&gt;/mean" in svg
    one = [{"step": 1, "reward": 1.0, "rewards/right/mean": 1.0}]
    assert "reward by function" not in render_report("a run", log_history=one)  # which is the reward


def test_what_was_better_and_what_was_worse(generations):
    _, made, _ = generations
    evaluations = {"<before>": score(made, sudoku_reward), "after": score(made, sudoku_reward)}
    judged = ([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0])
    comparison = replace(compare_judged((made, made), judged), settings={"temperature": (0.0, "<b>")})
    history = [{"step": step, "reward": step / 10, "sampler/nfe": 20.0 - step / 2} for step in range(1, 21)]
    text = render_report("a run", evaluations=evaluations, comparison=comparison, log_history=history)
    summary = text[text.index("In short") : text.index("<h2>Run")]
    assert "The same 4 problems" in summary and "2 gained, 1 lost" in summary
    assert "temperature 0.0, then &#x27;&lt;b&gt;&#x27;" in summary and "&lt;before&gt;" in summary
    assert "first 2 logs" in summary and "<td>0.15</td><td>1.95</td>" in summary and ">+1.80<" in summary
    assert "<td>19.25</td><td>10.25</td>" in summary and ">-47 %<" in summary
    assert "In short" not in render_report("a run", log_history=history[:1])


def test_what_was_run():
    settings = {
        **{"method": "diffpo", "task": "sudoku", "style": None, "train_size": 100, "seed": 7, "processes": 2},
        **{"model_name_or_path": "me/<model>", "use_peft": True, "lora_r": 8, "learning_rate": 2e-4, "beta": 0.0},
    }
    record = {"settings": settings, "versions": {"trl": "1.16.0"}}
    history = [{"step": 5, "step_time": 2.0}, {"step": 10, "step_time": 10.0}, {"step": 10, "train_loss": 1.0}]
    defaults = {"learning_rate": 1e-6, "beta": 0.0}
    text = render_report("a run", record=record, defaults=defaults, log_history=history)
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts == {
        **{"method": "diffpo", "base model": "me/&lt;model&gt;, LoRA of rank 8", "seed": "7", "processes": "2"},
        **{"data": "task sudoku, split train, 100 problems", "updates": "10", "time in updates": "1 min 0 s"},
        "software": "trl 1.16.0",
    }
    assert "not the method&#x27;s defaults (1)" in text and "<td>0.0002</td><td>1e-06</td>" in text
    assert "All settings that the result depends on (11)" in text
    own = settings | {
        "task": None,
        "dataset_name": "me/sums",
        "dataset_train_split": "train[:9]",
        "reward": ["my:one"],
    }
    text = render_report("a run", record={"settings": own})
    assert "me/sums, split train[:9]" in text and "my:one" in text and "software" not in text
    assert "<h2>Run" not in render_report("a run")


def test_the_same_prompt_early_and_late_in_training(build, tmp_path):
    """From the tables that a run keeps, of more updates than there are prompts."""
    trainer = build("diffpo", max_steps=12, path=tmp_path, log_completions=True)
    trainer.train()
    trainer.save_state()
    kept = list(completions(tmp_path / "completions"))
    pairs = first_and_last(kept)
    assert len(pairs) > 1
    for first, last in pairs:
        assert first[0]["prompt"] == last[0]["prompt"] and first[0]["step"] < last[0]["step"]
        own = [row for row in kept if row["prompt"] == first[0]["prompt"]]
        assert [row["step"] for row in (first[0], last[0])] == [f(row["step"] for row in own) for f in (min, max)]
    page = tmp_path / "page.html"
    assert main(["report", "--output_dir", str(tmp_path), "--output_file", str(page), "--max_samples", "1"]) == 0
    assert f"early and late in training (1 of {len(pairs)})" in page.read_text()
    (tmp_path / "completions" / "completions_00002.parquet").write_bytes(b"PAR1")
    assert main(["report", "--output_dir", str(tmp_path), "--output_file", str(page)]) == 1


def test_rollouts_of_the_same_prompt_are_summed_up():
    def row(step, text, reward, nfe, prompt=({"role": "user", "content": "<i>1 + 1"},)):
        completion = [{"role": "assistant", "content": text}]
        return {"step": step, "prompt": list(prompt), "completion": completion, "right": reward, "nfe": nfe}

    rows = [row(1, "</pre>3", 0.0, 8), row(1, "2", 1.0, 6), row(5, "9", 0.0, 9), row(9, "2", 1.0, 3)]
    rows += [row(9, "?", math.nan, 3), row(4, "once", 1.0, 1, prompt=({"role": "user", "content": "only once"},))]
    history = [{"step": 1, "reward": 0.5, "rewards/right/mean": 0.5}]
    text = render_report("a run", log_history=history, completions=rows)
    assert "(1 of 1)" in text and '<div class="role">user</div><pre>&lt;i&gt;1 + 1</pre>' in text
    assert "<h3>update 1 · right 0.50 · 7.0 passes</h3><pre>&lt;/pre&gt;3</pre>" in text
    assert "<h3>update 9 · right 1.00 · 3.0 passes</h3><pre>2</pre>" in text and "only once" not in text


def test_the_command(generations, tmp_path, capsys, build):
    file, _, _ = generations
    trainer = build("diffpo", max_steps=2, path=tmp_path / "run", save_strategy="steps", save_steps=1)
    trainer.train()
    page = tmp_path / "page.html"
    words = ["report", "--output_file", page, "--generations", file, "--tokenizer", "embedded/sudoku"]
    words += ["--output_dir", tmp_path / "run", "--task", "sudoku", "--max_samples", "2"]
    assert main(list(map(str, words))) == 0
    text = page.read_text()
    shown, right = Page(text).data["samples"]["samples"], [r >= 1 for r in rewards_of(generations[1], sudoku_reward)]
    assert 'aria-label="reward"' in text and [sample["problem"] for sample in shown][:2] == [1, 2]
    assert [sample["kind"] == "right" for sample in shown] == [right[sample["problem"] - 1] for sample in shown]
    assert f"{100 * score(load_generations(file), sudoku_reward).accuracy:.1f} %" in text
    for wrong, message in (
        (["--generations", str(file)], "`--tokenizer`"),
        (["--output_dir", str(tmp_path / "empty")], "has no `trainer_state.json`"),
        ([], "nothing to show"),
    ):
        assert main(["report", "--output_file", str(page), *wrong]) == 1
        assert message in capsys.readouterr().err
