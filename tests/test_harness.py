# SPDX-License-Identifier: Apache-2.0
"""The bound that stands in for a likelihood; and the harness's own evaluation loop."""

import itertools
import math

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation import evaluate, generate, likelihood_bound
from trl_diffusion.models import resolve_spec
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.tasks import sudoku

from .conftest import make_model


PROMPT, TEXT = [5, 6, 7], [8, 9, 4]


def log_prob(model, canvas, position, token):
    logits = model(input_ids=torch.tensor([canvas])).logits[0, position].double()
    logits[model.config.mask_token_id] = -math.inf
    return logits.log_softmax(-1)[token].item()


@torch.no_grad()
def mean_over_orders(model, prompt, text):
    """Of the log-probability of writing the text one token at a time: the bound, by its definition."""
    orders = list(itertools.permutations(range(len(text))))
    total = 0.0
    for order in orders:
        canvas = prompt + [model.config.mask_token_id] * len(text)
        for place in order:
            total += log_prob(model, canvas, len(prompt) + place, text[place])
            canvas[len(prompt) + place] = text[place]
    return total / len(orders)


def test_bound_is_the_mean_over_all_orders(model):
    spec, exact = resolve_spec(model), mean_over_orders(model, PROMPT, TEXT)
    estimates = torch.tensor(
        [likelihood_bound(model, spec, [PROMPT], [TEXT], num_samples=16, seed=seed)[0] for seed in range(1000, 1049)]
    )
    assert abs(estimates.mean() - exact) < 3 * estimates.std() / 7
    assert estimates.std() < 1
    # Of a single token the bound is the log-probability, whatever is drawn.
    (one,) = likelihood_bound(model, spec, [PROMPT], [[8]], num_samples=2)
    assert one == pytest.approx(mean_over_orders(model, PROMPT, [8]), abs=1e-5)


def test_bound_of_a_text_does_not_depend_on_the_others(model):
    spec = resolve_spec(model)
    prompts, texts = [PROMPT, [5], [6, 7], PROMPT], [TEXT, [8, 9, 4], [10], [9, 9, 9, 3]]
    alone = [likelihood_bound(model, spec, [p], [t])[0] for p, t in zip(prompts, texts, strict=True)]
    for batch_size in (2, 4, 100):
        together = likelihood_bound(model, spec, prompts, texts, batch_size=batch_size)
        assert together == pytest.approx(alone, abs=1e-4)


# ---------------------------------------------------------------- the real harness

DIGITS = {"until": ["\n"], "max_gen_toks": 18}


@pytest.fixture
def harness():
    from trl_diffusion.evaluation import harness  # imports the harness, which takes seconds

    return harness


@pytest.fixture
def make(harness):
    def make(**options):
        return harness.DiffusionLM(
            **{"pretrained": embedded.path("sudoku"), "batch_size": 4, "block_length": 20} | options
        )

    return make


def a_task(dataset, **config):
    from lm_eval.api.task import ConfigurableTask

    return ConfigurableTask(
        config={
            "task": "puzzles",
            "custom_dataset": lambda **kwargs: {"test": dataset},
            "test_split": "test",
            "doc_to_text": "{{prompt}}",
            "target_delimiter": "",
        }
        | config
    )


def results_of(lm, task):
    import lm_eval
    from lm_eval.tasks import TaskManager

    bare = TaskManager(include_defaults=False)  # the index of all tasks takes seconds
    results = lm_eval.simple_evaluate(model=lm, tasks=[task], task_manager=bare, bootstrap_iters=0)
    return results["results"]["puzzles"]


def a_request(kind, *arguments):
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def test_harness_counts_as_we_do(make):
    dataset = sudoku.make_dataset("test", 20)
    task = a_task(
        dataset,
        output_type="generate_until",
        doc_to_target="{{solution}}",
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        generation_kwargs=DIGITS,
    )
    lm = make(entropy_bound=0.3)
    results = results_of(lm, task)
    config = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, entropy_bound=0.3, temperature=0.0)
    ours = evaluate(lm.model, lm.tokenizer, dataset, sudoku_reward, config)
    assert results["exact_match,none"] == ours.accuracy > 0.5


def test_harness_chooses_the_likelier_answer(make):
    task = a_task(
        sudoku.make_dataset("test", 10),
        output_type="multiple_choice",
        doc_to_choice="{{[solution[::-1], solution]}}",
        doc_to_target=1,
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )
    lm = make(likelihood_samples=8)
    assert results_of(lm, task)["acc,none"] >= 0.8


def test_harness_likelihoods(make):
    """The bound, and whether a text is what the model writes, one token per pass."""
    lm, row = make(likelihood_samples=8), sudoku.make_dataset("test", 1)[0]
    one_by_one = DiffusionGenerationConfig(
        max_new_tokens=4, block_length=4, unmasking="low_confidence", temperature=0.0
    )
    (sample,) = generate(lm.model, lm.tokenizer, Dataset.from_list([row]), one_by_one).samples
    assert len(sample.text) == 4
    texts = [sample.text, sample.text[::-1], row["solution"]]
    answers = lm.loglikelihood([a_request("loglikelihood", row["prompt"], text) for text in texts])
    assert [greedy for _, greedy in answers][:2] == [True, False] and answers[0][0] > answers[1][0]
    ids = [lm.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    spec = resolve_spec(lm.model)
    bounds = likelihood_bound(lm.model, spec, [sample.prompt_ids] * 3, ids, num_samples=8)
    assert [bound for bound, _ in answers] == pytest.approx(bounds, abs=1e-4)


def test_harness_decodes_contexts_once_or_not_at_all(make):
    """Four tokens take four passes of each context, for any number of continuations."""
    lm = make(likelihood_samples=2, batch_size=1)
    passes = []
    lm.model.register_forward_hook(lambda *args: passes.append(None))

    def ask(contexts, texts, check_greedy):
        passes.clear()
        lm.check_greedy = check_greedy
        answers = lm.loglikelihood([a_request("loglikelihood", c, text) for c in contexts for text in texts])
        return answers, len(passes)

    contexts, texts = sudoku.make_dataset("test", 2)["prompt"][:], ["1234", "4321", "1423"]
    for asked, own in ((contexts[:1], texts[:1]), (contexts[:1], texts), (contexts, texts), (contexts * 2, texts)):
        checked, with_check = ask(asked, own, True)
        unchecked, without = ask(asked, own, False)
        assert with_check - without == 4 * len(set(asked))
        assert [bound for bound, _ in checked] == [bound for bound, _ in unchecked]
        assert not any(greedy for _, greedy in unchecked)
    assert make().check_greedy and not make(check_greedy=False).check_greedy


def test_harness_texts_end_before_stop_strings(make):
    lm = make()
    context = sudoku.make_dataset("test", 1)["prompt"][0]
    (whole,) = lm.generate_until([a_request("generate_until", context, dict(DIGITS))])
    stops = [whole[9:11], whole[4:6]]
    (cut,) = lm.generate_until([a_request("generate_until", context, DIGITS | {"until": ["", *stops]})])
    assert len(whole) == 16 and cut == min((whole.split(stop)[0] for stop in stops), key=len) and len(cut) <= 4


def test_harness_decoder_comes_from_arguments_model_task(make):
    bare = AutoModelForCausalLM.from_pretrained(embedded.path("sudoku"))
    del bare.generation_config.diffusion
    tokenizer = make().tokenizer
    lm = make(pretrained=bare, tokenizer=tokenizer)
    config, until = lm._settings({"until": "x", "max_gen_toks": 30})
    assert (config.max_new_tokens, config.temperature, until) == (40, 0.0, ["x"])  # whole blocks
    config, _ = lm._settings({"do_sample": True, "temperature": 0.7, "top_k": 5, "max_gen_toks": 20})
    assert (config.temperature, config.top_k, config.max_batch_size) == (0.7, 5, 4)
    lm = make(pretrained=bare, tokenizer=tokenizer, max_new_tokens=60, temperature=0.2)
    config, _ = lm._settings({"do_sample": False, "max_gen_toks": 20})
    assert (config.max_new_tokens, config.temperature) == (60, 0.2)
    DiffusionGenerationConfig(max_new_tokens=24, block_length=8, entropy_bound=0.7).attach_to(bare)
    lm = make(pretrained=bare, tokenizer=tokenizer, block_length=24)
    config, _ = lm._settings({"max_gen_toks": 256})
    assert (config.max_new_tokens, config.block_length, config.entropy_bound) == (24, 24, 0.7)


def test_harness_samples_of_a_context_differ_and_repeat(make):
    requests = [a_request("generate_until", "....3.....1..4..=", DIGITS | {"do_sample": True, "temperature": 1.0})] * 6
    first, again = (make().generate_until(requests) for _ in range(2))
    assert first == again and len(set(first)) > 1 and first != make(seed=1).generate_until(requests)


def test_harness_chat_template(make):
    lm = make()
    lm.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    assert lm.apply_chat_template([{"role": "user", "content": "1.2"}]) == "1.2="
    assert lm.tok_encode("1.2=") == lm.tokenizer("1.2=").input_ids and lm.chat_template(True)


def test_harness_refuses_what_has_no_meaning(harness, make):
    import lm_eval

    assert lm_eval.api.registry.get_model("trl-diffusion") is harness.DiffusionLM
    for options, message in (
        ({"batch_size": "auto"}, "`batch_size` must be a positive number, got 'auto'"),
        ({"check_greedy": "no"}, "`check_greedy` must be True or False, got 'no'"),
        ({"steps": 3}, "`model_args`: steps is unknown"),
        ({"pretrained": make_model()}, "`tokenizer` is needed"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    lm = make()
    with pytest.raises(ValueError, match="`generation_kwargs` have no meaning.*num_beams"):
        lm.generate_until([a_request("generate_until", "1=", DIGITS | {"num_beams": 4})])
    with pytest.raises(ValueError, match="positions that the model was trained for"):
        lm.generate_until([a_request("generate_until", "1" * 1000, dict(DIGITS))])
    with pytest.raises(NotImplementedError, match="Perplexity.*generate_until"):
        lm.loglikelihood_rolling([])


def test_harness_arguments_as_the_command_line_gives_them(harness):
    """Model arguments come as text."""
    text = f"pretrained={embedded.path('sudoku')},max_new_tokens=20,block_length=20,temperature=0.5,stop_at_eos=False"
    text += ",check_greedy=False"
    also = {"batch_size": "2", "device": None, "max_batch_size": None}
    arguments = {"pretrained": embedded.path("sudoku"), "max_new_tokens": 20, "block_length": 20, "temperature": 0.5}
    for lm in (
        harness.DiffusionLM.create_from_arg_string(text, also),
        harness.DiffusionLM.create_from_arg_obj(arguments | {"stop_at_eos": False, "check_greedy": False}, also),
    ):
        assert (lm.config.max_new_tokens, lm.config.temperature, lm.config.stop_at_eos) == (20, 0.5, False)
        assert lm.batch_size == lm.config.max_batch_size == 2
        assert not lm.check_greedy
