# SPDX-License-Identifier: Apache-2.0
"""The table of completions in the terminal, and its colours."""

import io
import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from rich.console import Console
from rich.text import Text

from trl_diffusion import DiffusionGenerationConfig
from trl_diffusion.visualization import LiveCanvas, colour_of, print_completions, render_canvas
from trl_diffusion.visualization.canvas import MASK, token_texts
from trl_diffusion.visualization.colours import StepScale, text_colour_of
from trl_diffusion.visualization.completions import choose

from .tokenizers_of_pieces import make_tokenizer


def luminance(colour):
    """Relative luminance, as the WCAG defines it."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


SHARES = [i / 200 for i in range(201)]


def test_colours_are_cividis():
    matplotlib = pytest.importorskip("matplotlib")
    for share in SHARES:
        expected = [255 * value for value in matplotlib.colormaps["cividis"](share)[:3]]
        ours = [int(colour_of(share)[i : i + 2], 16) for i in (1, 3, 5)]
        assert max(abs(a - b) for a, b in zip(ours, expected)) < 12
    assert colour_of(-1) == colour_of(0) and colour_of(2) == colour_of(1)


def test_lightness_alone_tells_early_from_late_and_text_can_be_read():
    lights = [luminance(colour_of(share)) for share in SHARES]
    assert lights == sorted(lights) and lights[-1] > 20 * lights[0]
    for share, light in zip(SHARES, lights):
        low, high = sorted([light, luminance(text_colour_of(share))])
        assert (high + 0.05) / (low + 0.05) >= 4.5, share


@pytest.mark.parametrize(
    ("style", "text"), [("bytes", "hello 🤖 naïve 日本 world"), ("metaspace", "hello world I say")]
)
def test_texts_of_tokens_make_up_the_text(style, text):
    tokenizer = make_tokenizer(style)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    texts = token_texts(tokenizer, ids, [True] * len(ids))
    assert "".join(texts) == tokenizer.decode(ids) == text and len(ids) > 5
    assert "\ufffd" not in "".join(texts)
    hole = [i != 2 for i in range(len(ids))]
    pieces = token_texts(tokenizer, ids, hole)
    assert pieces[2] == "" and "".join(pieces[:2]) == tokenizer.decode(ids[:2])


def test_half_a_character_is_a_mark():
    tokenizer = make_tokenizer("bytes")
    ids = tokenizer("🤖a", add_special_tokens=False).input_ids
    assert len(ids) == 5  # four bytes of the robot
    texts = token_texts(tokenizer, ids, [True, True, False, True, True])
    assert texts[4] == "a" and "🤖" not in "".join(texts) and "\ufffd" in texts[1]


class Characters:
    """Each token is the character of its number."""

    def decode(self, ids):
        return "".join(map(chr, ids))


def canvas(text, steps, **options):
    return render_canvas(Characters(), [ord(c) for c in text], steps, **options)


def colours_in(text):
    """The background of each character."""
    found = [None] * len(text)
    for span in text.spans:
        colour = getattr(span.style, "bgcolor", None)
        found[span.start : span.end] = [colour and colour.name] * (span.end - span.start)
    return found


def test_tokens_have_the_colour_of_their_step():
    shown = canvas("abcd", [3, 0, -1, 1], end_tokens=[ord("$")])
    assert shown.plain == f"ab{MASK}d"
    assert colours_in(shown) == [colour_of(1), colour_of(0), None, colour_of(1 / 3)]


def test_what_is_behind_the_end_is_dimmed_and_counted():
    steps = [0, 1, 2, 0, 0, -1, -1, -1]
    assert canvas("ab$xx???", steps, end_tokens=[ord("$")]).plain == "ab"
    shown = canvas("ab$xx???", steps, end_tokens=[ord("$")], with_tail=True)
    assert shown.plain.split() == ["ab$x×2", f"{MASK}×3"]
    assert colours_in(shown)[:3] == [colour_of(0), colour_of(0.5), None]
    assert {str(span.style) for span in shown.spans[2:]} == {"dim"}
    # A token that ends texts, on a position that is still masked, is none.
    assert canvas("$b", [-1, 0], end_tokens=[ord("$")]).plain == f"{MASK}b"


@pytest.mark.parametrize(("unmasking", "even"), [("entropy_bound", False), ("low_confidence", True)])
def test_tokens_keep_their_colours_while_others_are_written(unmasking, even):
    config = DiffusionGenerationConfig(max_new_tokens=16, block_length=8, unmasking=unmasking, eos_token_ids=[1])
    live = LiveCanvas(Characters(), config, Console(file=io.StringIO(), force_terminal=True, width=80))
    final, seen = [0, 0, 1, 2, 2, 5, 9, 15, *[3] * 8], {}
    for step in range(1, 17):
        written = [when if when < step else -1 for when in final]
        record = SimpleNamespace(
            completion_ids=torch.full((1, 16), ord("x")),
            unmask_step=torch.tensor([written]),
            nfe=torch.tensor([step]),
        )
        row, rule = live._rows(record)
        for place, colour in enumerate(colours_in(row)):
            assert (colour is None) == (written[place] < 0)
            assert colour is None or seen.setdefault(place, colour) == colour
        marks = {
            int(word): colours_in(rule.title)[rule.title.plain.rindex(f" {word} ")] for word in live.scale.marks()
        }
    assert marks[1] == seen[0] == colour_of(0) and marks[16] == seen[7] == colour_of(1)
    assert even or marks[2] == seen[2]
    # Of few steps among many, one tells the first from the second; all steps of a schedule are equally far apart.
    assert seen[2] == colour_of(1 / 15 if even else 1 / 4)


def test_scales_of_steps():
    assert StepScale(1, even=False)(0) == StepScale(1, even=True)(0) == 0
    assert StepScale(256, even=False).marks() == [1, 2, 5, 10, 20, 50, 100, 200, 256]
    assert StepScale(256, even=True).marks() == [1, 64, 128, 192, 256] and StepScale(2, even=True).marks() == [1, 2]
    for even in (False, True):
        shares = list(map(StepScale(256, even=even), range(256)))
        assert shares == sorted(set(shares)) and (shares[0], shares[-1]) == (0, 1)


def test_a_model_does_not_reach_the_terminal():
    shown = canvas("a\x1b[2J\x07\x9b\n", [0] * 8)
    assert shown.plain == "a\ufffd[2J\ufffd\ufffd\n"


def test_which_completions_are_shown():
    prompts = ["a", "a", "b", "b", "c"]
    assert choose(prompts, None, False, seed=0) == [0, 1, 2, 3, 4]
    assert choose(prompts, None, True, seed=0) == [0, 2, 4]
    assert choose(prompts, 0, False, seed=0) == [] and choose([], 3, False, seed=0) == []
    state = random.getstate()
    drawn = Counter(i for seed in range(300) for i in choose(prompts, 2, True, seed=seed))
    assert (
        random.getstate() == state
        and set(drawn) == {0, 2, 4}
        and sum(drawn.values()) == 600
        and min(drawn.values()) > 150
    )


def printed(width=100, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    canvases = [([ord(c) for c in text], [0, 1, 1]) for text in ("xy$", "zz$")]
    arguments = {"rewards": {"right": [1.0, 0.0]}, "advantages": [0.5, -0.5], "end_tokens": [ord("$")]} | options
    print_completions(Characters(), ["one", "two"], canvases, step=7, console=console, **arguments)
    output = console.file.getvalue()
    return Text.from_ansi(output).plain, output


def test_rows_of_the_table():
    nan = float("nan")
    plain, coloured = printed(extra={"nfe": [2, 3], "threshold": [nan, nan], "note": ["[bold]", "\x1b[2J"]})
    first, second = (next(line for line in plain.splitlines() if word in line) for word in ("one", "two"))
    assert [cell.strip() for cell in first.split("│")[2:-2]] == ["one", "xy$", "1.00", "0.50", "2", "[bold]"]
    assert [cell.strip() for cell in second.split("│")[2:-2]] == ["two", "zz$", "0.00", "-0.50", "3", "\ufffd[2J"]
    assert "Step 7" in plain and "first" in plain and "never written" in plain and "threshold" not in plain
    assert "\x1b[2J" not in coloured
    red, green, blue = (int(colour_of(1)[i : i + 2], 16) for i in (1, 3, 5))
    assert f"48;2;{red};{green};{blue}my" in coloured


def test_conversations_are_shown_by_role():
    """Here in a file, where there are no colours to explain."""
    console = Console(file=io.StringIO(), width=100)
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    print_completions(Characters(), [prompt], [([97], [0])], {}, [0.0], 1, console=console)
    words = [line.split("│")[2].strip() for line in console.file.getvalue().splitlines() if line.count("│") > 3]
    assert words[:4] == ["system", "Be brief.", "user", "Hi"]
    assert "\x1b" not in console.file.getvalue() and "first" not in console.file.getvalue()


# ---------------------------------------------------------------- the trainer's


@pytest.fixture
def tables(monkeypatch):
    """What trainers have printed."""
    made = []

    def spied(tokenizer, prompts, canvases, rewards, advantages, step, **options):
        made.append({"prompts": prompts, "canvases": canvases, "rewards": rewards, "step": step} | options)
        print_completions(tokenizer, prompts, canvases, rewards, advantages, step, **options)

    monkeypatch.setattr("trl_diffusion.trainer.trl_hooks.logs.print_completions", spied)
    return made


def test_the_trainer_prints_its_completions_and_trl_none(build, tables, capsys):
    texts = []

    def reward(prompts, completions, **kwargs):
        texts.append([*zip(prompts, completions)])
        return [len(text) for text in completions]

    trainer = build("diffpo", reward=reward, log_completions=True, num_iterations=2, max_steps=4)
    trainer.train()
    output = capsys.readouterr().out
    # Once for each rollout, of which there are two: neither when the same are learned from again, nor at the end.
    assert [table["step"] for table in tables] == [1, 3]
    assert output.count("Completion ") == 2 and output.count("╭") == 2
    for table, written in zip(tables, texts, strict=True):
        assert table["prompts"] == [prompt for prompt, _ in written]
        for (ids, steps), (_, text), reward in zip(
            table["canvases"], written, table["rewards"]["reward"], strict=True
        ):
            shown = render_canvas(trainer.processing_class, ids, steps, end_tokens=table["end_tokens"]).plain
            assert shown == text and reward == len(text)
        assert {"nfe", "threshold"} <= set(table["extra"]) and trainer.num_completions_to_print is None


def test_trls_options_hold(build, tables, capsys):
    options = {"log_completions": True, "max_steps": 1, "per_device_train_batch_size": 8}
    build("diffpo", num_completions_to_print=3, **options).train()
    assert capsys.readouterr().out.count("├") == 3 - 1
    build("diffpo", log_unique_prompts=True, **options).train()
    assert capsys.readouterr().out.count("├") == 2 - 1
    build("diffpo", num_completions_to_print=0, **options).train()
    assert "╭" not in capsys.readouterr().out
    build("diffpo", **options | {"log_completions": False}).train()
    assert "╭" not in capsys.readouterr().out and len(tables) == 3


def test_evaluations_print_theirs(build, tables):
    dataset = Dataset.from_dict({"prompt": ["1+1=", "2="]})
    build("diffpo", log_completions=True, eval_dataset=dataset).evaluate()
    assert [table["step"] for table in tables] == [0]
