# SPDX-License-Identifier: Apache-2.0
"""The page of a run."""

import itertools
import json
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import embedded
from trl_diffusion.cli.main import main
from trl_diffusion.evaluation import generate, load_generations, score
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.tasks import sudoku
from trl_diffusion.visualization import colour_of
from trl_diffusion.visualization.charts import chart, ticks
from trl_diffusion.visualization.report import render_report


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
    shown = page.data["model"]
    colours = json.loads(re.search(r"const colours = (.*?);", page.scripts[-1]).group(1))
    assert [colours[0], colours[-1]] == [[colour_of(0), "#ffffff"], [colour_of(1), "#000000"]]
    assert [sample["prompt"] for sample in shown] == [sample.prompt for sample in made.samples[:3]]
    for seen, sample in zip(shown, made.samples):
        record = sample.trajectory
        assert seen["passes"] == record.nfe.item()
        for step in range(seen["passes"] + 1):
            state = record.state_before(step, mask_token_id=1)[0].tolist()
            visible = [text if 0 <= written < step else "░" for text, written in seen["tokens"]]
            assert visible == [
                "░" if token == 1 else "■" if token == 0 else tokenizer.decode([token]) for token in state
            ]


def test_nothing_that_a_model_writes_leaves_its_place(generations):
    class Hostile:
        def decode(self, ids):
            return "</script><script>alert(1)</script><!--"

    _, made, _ = generations
    page = Page(render_report("<b>title</b>", samples={"</script>": made}, tokenizer=Hostile()))
    assert sum(tag == "script" for tag, _ in page.tags) == 2 and "b" not in {tag for tag, _ in page.tags}
    assert "alert(1)" in page.data["</script>"][0]["tokens"][0][0]
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


def test_charts_of_what_cannot_be_drawn():
    assert chart("nothing", {"a": [], "b": [(0.0, math.nan), (math.inf, 1.0)]}, "x") == ""
    assert chart("flat", {"a": [(1.0, 0.0)]}, "x").count("<circle") == 1


def test_the_command(generations, tmp_path, capsys, build):
    file, _, _ = generations
    trainer = build("diffpo", max_steps=2, path=tmp_path / "run", save_strategy="steps", save_steps=1)
    trainer.train()
    page = tmp_path / "page.html"
    words = ["report", "--output_file", page, "--generations", file, "--tokenizer", "embedded/sudoku"]
    words += ["--output_dir", tmp_path / "run", "--task", "sudoku", "--max_samples", "2"]
    assert main(list(map(str, words))) == 0
    text = page.read_text()
    assert len(Page(text).data["samples"]) == 2 and 'aria-label="reward"' in text
    assert f"{100 * score(load_generations(file), sudoku_reward).accuracy:.1f} %" in text
    for wrong, message in (
        (["--generations", str(file)], "`--tokenizer`"),
        (["--output_dir", str(tmp_path / "empty")], "has no `trainer_state.json`"),
        ([], "nothing to show"),
    ):
        assert main(["report", "--output_file", str(page), *wrong]) == 1
        assert message in capsys.readouterr().err
