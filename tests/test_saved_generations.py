# SPDX-License-Identifier: Apache-2.0
"""Samples and the file that keeps them: the same whatever the batch, and however often it was killed."""

import json
import math
import os
from dataclasses import replace

import pytest
import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.evaluation import evaluate, generate, load_generations, score
from trl_diffusion.evaluation.fingerprints import content_fingerprint, weights_fingerprint
from trl_diffusion.evaluation.generate import _Job
from trl_diffusion.models import ThresholdHeadConfig

from .conftest import make_model


PROMPTS = ["1+1=", "12+3=", "7=", "(4-2)*3=", "10/5="]
CONFIG = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, entropy_bound=1.0)


@pytest.fixture
def dataset():
    return Dataset.from_dict({"prompt": PROMPTS, "goal": [2, 15, 7, 6, 2], "parts": [[1, 1], [12, 3], [7], [], [5]]})


@pytest.fixture
def model(tokenizer):
    return make_model(len(tokenizer))


def long(completions, **kwargs):
    return [float(len(text) > 3) for text in completions]


# What the last digits of the model's numbers show in, or who shared a batch.
INEXACT = {"log_probs", "entropies", "slack", "row_forwards", "seconds"}


def written(generations):
    """What was written, for comparison."""
    lines = [json.loads(sample.to_json()) for sample in generations.samples]
    return [{key: value for key, value in line.items() if key not in INEXACT} for line in lines]


def usual(model, tokenizer, dataset):
    return {"model": model, "tokenizer": tokenizer, "dataset": dataset, "config": CONFIG}


def lines_of(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, unmasking="low_confidence", temperature=0.5, top_k=3)],
    ids=["adaptive", "fixed"],
)
def test_samples_do_not_depend_on_the_batch(model, tokenizer, dataset, config):
    made = [generate(model, tokenizer, dataset, config, num_samples=3, batch_size=size) for size in (1, 3, 100)]
    several = list(map(written, made))
    assert several[0] == several[1] == several[2]
    for other in made[1:]:
        torch.testing.assert_close(other.trajectory.log_probs, made[0].trajectory.log_probs)
    assert len(several[0]) == 15 and len({line["text"] for line in several[0]}) > 3
    first = generate(model, tokenizer, dataset, config)
    assert written(first) == [line for line in several[0] if line["sample_index"] == 0]


def test_a_sample_can_be_written_again_from_its_line(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "generations.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path, num_samples=2, seed=3)
    loaded = load_generations(path)
    sample = loaded.samples[5]
    again = DiffusionSampler(model, loaded.config).sample(
        torch.tensor([sample.prompt_ids]), seeds=torch.tensor([sample.seed])
    )
    for name, values in again.to_dict("").items():
        if name != "row_forwards":
            torch.testing.assert_close(getattr(sample.trajectory, name), values)
    assert sample.nfe == int(again.nfe) and (sample.prompt_index, sample.sample_index) == (2, 1)


def test_a_file_gives_back_what_was_made(model, tokenizer, dataset, tmp_path):
    config = replace(CONFIG, unmasking="random", top_k=4, temperature=0.7)  # has NaN thresholds, and supports
    made = generate(model, tokenizer, dataset, config, tmp_path / "new" / "g.jsonl", num_samples=2, batch_size=3)
    loaded = load_generations(tmp_path / "new" / "g.jsonl")
    assert written(loaded) == written(made) == written(generate(model, tokenizer, dataset, config, num_samples=2))
    for name, values in made.trajectory.to_dict().items():
        other = loaded.trajectory.to_dict()[name]
        assert other.dtype == values.dtype and torch.equal(other.nan_to_num(9), values.nan_to_num(9)), name
    assert loaded.trajectory.threshold.isnan().all() and loaded.trajectory.support.dtype == torch.int32
    assert loaded.config.eos_token_ids == (tokenizer.eos_token_id,)
    assert replace(loaded.config, eos_token_ids=()) == config
    header = loaded.header
    assert header["settings"]["model"]["weights"] == weights_fingerprint(model)
    assert header["made_by"][0]["torch"] == torch.__version__ and header["made_by"][0]["device"] == "cpu"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["g.jsonl"]


def test_scoring_a_file_equals_evaluating(model, tokenizer, dataset, tmp_path):
    def reward(completions, goal, parts, nfe, **kwargs):
        return [g % 2 + len(p) + n % 2 for g, p, n in zip(goal, parts, nfe, strict=True)]

    generate(model, tokenizer, dataset, CONFIG, tmp_path / "g.jsonl", batch_size=2)
    a, b = score(load_generations(tmp_path / "g.jsonl"), reward), evaluate(model, tokenizer, dataset, reward, CONFIG)
    assert replace(a, seconds=0, tokens_per_second=0) == replace(b, seconds=0, tokens_per_second=0)


# ---------------------------------------------------------------- killed, and started again


def generate_and_die(after, write, **arguments):
    """In a process of its own, which ends without a farewell in its nth batch."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)
    batches, decode = [], _Job.decode

    def decode_until(job, keys):
        batches.append(keys)
        if len(batches) > after:
            write()
            os._exit(9)
        return decode(job, keys)

    _Job.decode = decode_until
    generate(**arguments)
    os._exit(1)


def decoded_by(monkeypatch):
    """The samples that are decoded from now on."""
    seen, decode = [], _Job.decode
    monkeypatch.setattr(_Job, "decode", lambda job, keys: seen.extend(keys) or decode(job, keys))
    return seen


def test_a_run_that_was_killed_goes_on(model, tokenizer, dataset, tmp_path, monkeypatch):
    path = tmp_path / "g.jsonl"
    arguments = usual(model, tokenizer, dataset) | {"path": path, "num_samples": 2}

    def leave_half_a_line():
        (part,) = tmp_path.iterdir()
        with part.open("a") as file:
            file.write('{"prompt_index": 2, "sample_ind')

    generate_and_die(2, leave_half_a_line, batch_size=2, **arguments)
    (part,) = tmp_path.iterdir()
    assert part.name.startswith("g.jsonl.part-00000-") and len(lines_of(part)) == 1 + 4 + 1
    with pytest.raises(FileNotFoundError, match=r"not finished: 4 samples are in 1 files.*same arguments"):
        load_generations(path)
    generate_and_die(1, lambda: None, batch_size=3, **arguments)  # once more, in other batches
    (tmp_path / "g.jsonl.part-00000-dead").write_text('{"format": "trl-di')  # died in the header
    seen = decoded_by(monkeypatch)
    done = generate(**arguments)
    assert seen == [(3, 1), (4, 0), (4, 1)]
    assert written(done) == written(load_generations(path))
    assert written(done) == written(generate(**arguments | {"path": None}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.jsonl"]
    seen.clear()
    assert written(generate(**arguments)) == written(done) and not seen


def test_more_samples_are_added_to_those_there_are(model, tokenizer, dataset, tmp_path, monkeypatch):
    path = tmp_path / "g.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path)
    seen = decoded_by(monkeypatch)
    more = generate(model, tokenizer, dataset, CONFIG, path, num_samples=3)
    assert seen == [(i, s) for i in range(5) for s in (1, 2)]
    assert written(more) == written(generate(model, tokenizer, dataset, CONFIG, num_samples=3))
    assert load_generations(path).header["num_samples"] == 3
    fewer = generate(model, tokenizer, dataset, CONFIG, path, num_samples=2)
    assert fewer.header["num_samples"] == 2 and len(fewer) == 10 and len(load_generations(path)) == 15


def test_other_settings_are_not_mixed_in(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "g.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path)
    before = path.read_bytes()
    for change, message in (
        ({"config": replace(CONFIG, entropy_bound=0.5)}, "decoder.entropy_bound is 1.0 there and 0.5 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"dataset": dataset.select(range(4))}, "dataset is '[0-9a-f]{32}' there and"),
        ({"dataset": dataset.rename_column("goal", "target")}, "dataset is '[0-9a-f]{32}' there and"),
        ({"model": make_model(len(tokenizer), seed=1)}, "model.weights is"),
        ({"model": make_model(len(tokenizer), dtype=torch.bfloat16)}, "model.dtype is 'torch.float32' there"),
    ):
        arguments = usual(model, tokenizer, dataset) | {"path": path}
        with pytest.raises(ValueError, match=rf"`path`: .*{message}.*Choose another `path`"):
            generate(**arguments | change)
    assert path.read_bytes() == before
    generate(model, tokenizer, dataset, replace(CONFIG, max_batch_size=2), path)  # which changes nothing


def test_damaged_files_are_refused(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "g.jsonl"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_generations(path)
    generate(model, tokenizer, dataset, CONFIG, path)
    lines = lines_of(path)
    path.write_text("\n".join([*lines[:2], lines[2][:50], *lines[3:], ""]))
    with pytest.raises(ValueError, match=r"line 3 is damaged .*1 of 5 samples are missing .*the same arguments"):
        load_generations(path)
    path.write_text("something else\n")
    with pytest.raises(ValueError, match="does not begin with a header"):
        load_generations(path)
    with pytest.raises(ValueError, match="`path`.*no file of generations"):
        generate(model, tokenizer, dataset, CONFIG, path)


@pytest.mark.parametrize(
    ("lines", "message", "made"),
    [
        (lambda lines: lines[:6], r"5 of 10 samples are missing \(5 prompts, 2 of each\)", 5),
        (lambda lines: lines[:1], "10 of 10 samples are missing", 10),
        (lambda lines: [*lines, *lines[1:4]], "3 samples are there more than once", 0),
        (lambda lines: [*lines[:-1], lines[1]], "1 of 10 samples are missing .*1 samples are there more than once", 1),
        (lambda lines: [lines[0], "{}", *lines[2:]], "line 2 is damaged .*1 of 10 samples are missing", 1),
        (
            lambda lines: [*lines, lines[-1].replace('"prompt_index": 4', '"prompt_index": 9')],
            "1 samples are of no prompt",
            0,
        ),
    ],
    ids=["cut", "a header alone", "appended", "replaced", "damaged", "strange"],
)
@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_a_file_that_is_not_whole_is_refused_and_mended(
    model, tokenizer, dataset, tmp_path, monkeypatch, lines, message, made
):
    """Figures of a part of the problems would look like those of all."""
    path = tmp_path / "g.jsonl"
    arguments = usual(model, tokenizer, dataset) | {"path": path, "num_samples": 2}
    whole = written(generate(**arguments))
    path.write_text("".join(f"{line}\n" for line in lines(lines_of(path))))
    with pytest.raises(ValueError, match=f"{message}.*`trl-diffusion eval`.*the same arguments"):
        load_generations(path)
    seen = decoded_by(monkeypatch)
    assert written(generate(**arguments)) == whole and len(seen) == made
    assert written(load_generations(path)) == whole


def changed(line, **values):
    return json.dumps(json.loads(line) | values)


def without(line, name):
    return json.dumps({key: value for key, value in json.loads(line).items() if key != name})


HEADERS = {
    "no prompts": (lambda h: without(h, "prompts"), "it has no `prompts`"),
    "prompts of text": (lambda h: changed(h, prompts="x"), "`prompts` must be a whole number from 1 on, and is 'x'"),
    "no prompt": (lambda h: changed(h, prompts=0), "`prompts` must be"),
    "no settings": (lambda h: without(h, "settings"), "it has no `settings`"),
    "settings of nothing": (lambda h: changed(h, settings={}), "it has no `settings.model`"),
    "no number of samples": (lambda h: changed(h, num_samples=None), "`num_samples` must be .* and is None"),
    "a later decoder": (
        lambda h: h.replace('"block_length"', '"foo": 1, "block_length"', 1),
        "`settings.decoder.foo` is no setting of this version",
    ),
}


@pytest.mark.parametrize(("change", "message"), HEADERS.values(), ids=HEADERS)
def test_damaged_headers_are_refused(model, tokenizer, dataset, tmp_path, change, message):
    path = tmp_path / "g.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path)
    header, *lines = lines_of(path)
    path.write_text("".join(f"{line}\n" for line in [change(header), *lines]))
    for read in (load_generations, lambda p: generate(model, tokenizer, dataset, CONFIG, p)):
        with pytest.raises(ValueError, match=f"header of .*g.jsonl is damaged.*{message}.*Delete the file"):
            read(path)


def test_a_header_that_promises_too_much(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "g.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path)
    header, *lines = lines_of(path)
    path.write_text("".join(f"{line}\n" for line in [changed(header, prompts=10**12), *lines]))
    with pytest.raises(ValueError, match=f"{10**12 - 5} of {10**12} samples are missing"):
        load_generations(path)


SAMPLES = {
    "text": ({"text": None}, "`text` must be text, and is None"),
    "tokens": ({"tokens": "a"}, "`tokens` must be a whole number from 1 to 8"),
    "too many tokens": ({"tokens": 10**9}, "`tokens` must be a whole number from 1 to 8"),
    "columns": ({"columns": None}, "`columns` must be an object"),
    "no columns": ({"columns": {}}, "its columns are none, and those of most lines goal, parts"),
    "ids": ({"completion_ids": [1, 2]}, "`completion_ids` must be a list of 8 tokens"),
    "huge ids": ({"completion_ids": [10**30] * 8}, "`completion_ids` must be"),
    "probabilities": ({"log_probs": [0.5] * 7}, "`log_probs` must be a list of 8 numbers"),
    "threshold": ({"threshold": [0.5]}, "`threshold` must be a list of 2 numbers"),
    "support": ({"support": [[1, 2]] * 7 + [[1]]}, "`support` must be lists of one length"),
    "more records": ({"drift": [1.0, 0.0, 0.0, 0.0]}, "its records are .*drift"),
    "no passes": ({"nfe": 0}, "`nfe` must be a whole number from 1 on"),
    "time": ({"seconds": math.inf}, "`seconds` must be a number of seconds"),
    "index": ({"prompt_index": "0"}, "`prompt_index` must be"),
    "end": ({"ended": 1}, "`ended` must be true or false"),
    "seed": ({"seed": 10**400}, "`seed` must be a whole number"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "a list": ("[1, 2]", r"it is no JSON object, but \[1, 2\]"),
    "bytes": (b"\xff\xfe", "can't decode"),
}


@pytest.mark.parametrize(("change", "message"), SAMPLES.values(), ids=SAMPLES)
def test_damaged_samples_are_refused_and_mended(model, tokenizer, dataset, tmp_path, change, message):
    path = tmp_path / "g.jsonl"
    whole = written(generate(model, tokenizer, dataset, CONFIG, path))
    lines = path.read_bytes().splitlines()
    line = changed(lines[3], **change) if isinstance(change, dict) else change
    lines[3] = line.encode() if isinstance(line, str) else line
    path.write_bytes(b"\n".join([*lines, b""]))
    with pytest.raises(ValueError, match=rf"line 4 is damaged \(.*{message}.*1 of 5 samples are missing"):
        load_generations(path)
    with pytest.warns(UserWarning, match="line 4 is damaged .*made again") as warned:
        assert written(generate(model, tokenizer, dataset, CONFIG, path)) == whole
    assert len([w for w in warned if "is damaged" in str(w.message)]) == 1
    assert written(load_generations(path)) == whole


def test_what_an_editor_adds_does_not_matter(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "g.jsonl"
    whole = written(generate(model, tokenizer, dataset, CONFIG, path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert written(load_generations(path)) == whole


def test_a_folder_is_no_file(model, tokenizer, dataset, tmp_path):
    with pytest.raises(ValueError, match="is a folder.*name the file in it"):
        load_generations(tmp_path)
    with pytest.raises(ValueError, match="`path`: .* is a folder"):
        generate(model, tokenizer, dataset, CONFIG, tmp_path)


def test_no_time_at_all(model, tokenizer, dataset):
    """A clock may be coarse."""
    made = generate(model, tokenizer, dataset, CONFIG)
    made.samples[:] = [replace(sample, seconds=0.0) for sample in made.samples]
    assert math.isnan(score(made, long).tokens_per_second)


def test_mending_loses_no_samples(model, tokenizer, dataset, tmp_path, monkeypatch):
    """A file of three samples per prompt that has been cut, and is asked for two."""
    path = tmp_path / "g.jsonl"
    generate(model, tokenizer, dataset, CONFIG, path, num_samples=3)
    path.write_text("".join(f"{line}\n" for line in lines_of(path)[:-2]))
    seen = decoded_by(monkeypatch)
    assert len(generate(model, tokenizer, dataset, CONFIG, path, num_samples=2)) == 10 == len(load_generations(path))
    assert len(generate(model, tokenizer, dataset, CONFIG, path, num_samples=3)) == 15 == len(load_generations(path))
    assert seen == [(4, 1), (4, 2)]
    assert [p.name for p in tmp_path.iterdir()] == ["g.jsonl"]


def test_samples_may_stand_in_any_order(model, tokenizer, dataset, tmp_path):
    path = tmp_path / "g.jsonl"
    whole = written(generate(model, tokenizer, dataset, CONFIG, path, num_samples=2))
    header, *lines = lines_of(path)
    path.write_text("".join(f"{line}\n" for line in [header, *reversed(lines)]))
    assert written(load_generations(path)) == whole


# ---------------------------------------------------------------- what may be asked for


def test_nonsense_is_refused(model, tokenizer, dataset, tmp_path):
    def refused(error, message, **change):
        with pytest.raises(error, match=message):
            generate(**usual(model, tokenizer, dataset) | change)

    refused(TypeError, r"`dataset` must be a `datasets.Dataset`, got a list", dataset=PROMPTS)
    refused(TypeError, r"Pass one, one of its splits: 'test'", dataset=DatasetDict(test=dataset))
    refused(ValueError, "no column 'prompt', only 'q'.*rename_column", dataset=Dataset.from_dict({"q": ["1"]}))
    refused(ValueError, "`dataset` is empty", dataset=dataset.select([]))
    refused(ValueError, "a column 'nfe', which rewards receive", dataset=dataset.rename_column("goal", "nfe"))
    refused(ValueError, "`num_samples` must be at least 1, got 0", num_samples=0)
    refused(ValueError, "`batch_size` must be at least 1, got -1", batch_size=-1)
    refused(
        ValueError, "`num_samples=2`.*`config.temperature` is 0", num_samples=2, config=replace(CONFIG, temperature=0)
    )
    refused(ValueError, "row 1 is empty", dataset=Dataset.from_dict({"prompt": ["1=", ""]}))
    refused(ValueError, "row 0 has 60 tokens.*64 positions", dataset=Dataset.from_dict({"prompt": ["1" * 60]}))
    refused(ValueError, "carries no decoding settings", config=None)
    sharded = make_model(len(tokenizer))
    sharded.lm_head.weight.data = torch.empty(0)
    refused(ValueError, "`model` is sharded over processes.*gather", model=sharded)
    unwritable = dataset.map(lambda row: {"when": torch.tensor(1)}).with_format("torch", ["when"], True)
    refused(TypeError, "Column 'when' .*Tensor.*remove_columns", dataset=unwritable, path=tmp_path / "g.jsonl")
    assert not list(tmp_path.iterdir())
    generate(model, tokenizer, unwritable, CONFIG)  # which is nothing to memory


def test_settings_that_the_model_carries(model, tokenizer, dataset):
    CONFIG.attach_to(model)
    assert written(generate(model, tokenizer, dataset)) == written(generate(model, tokenizer, dataset, CONFIG))


def test_whole_blocks_at_once(model, tokenizer, dataset, tmp_path):
    """An infinite bound, which JSON has no number for."""
    config = replace(CONFIG, entropy_bound=math.inf)
    made = generate(model, tokenizer, dataset, config, tmp_path / "g.jsonl")
    assert load_generations(tmp_path / "g.jsonl").config.entropy_bound == math.inf
    assert written(generate(model, tokenizer, dataset, config, tmp_path / "g.jsonl")) == written(made)
    assert max(sample.nfe for sample in made.samples) == 2


def test_conversations(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m['content'] }}{% endfor %}=")
    dataset = Dataset.from_dict({"prompt": [[{"role": "user", "content": "1+1"}]]})

    def reward(prompts, completions, completion_ids, **kwargs):
        assert prompts[0][0]["content"] == "1+1" and completions[0][0]["role"] == "assistant"
        assert tokenizer.decode(completion_ids[0], skip_special_tokens=True) == completions[0][0]["content"]
        return [1.0]

    generate(model, tokenizer, dataset, CONFIG, tmp_path / "g.jsonl")
    generations = load_generations(tmp_path / "g.jsonl")
    assert tokenizer.decode(generations.samples[0].prompt_ids) == "1+1="
    assert score(generations, reward).accuracy == 1.0


def test_samples_with_a_learned_threshold(model, tokenizer, dataset, tmp_path):
    model.add_threshold_head(ThresholdHeadConfig())
    config = replace(CONFIG, learned_threshold="sample")
    made = generate(model, tokenizer, dataset, config, tmp_path / "g.jsonl", num_samples=4)
    loaded = load_generations(tmp_path / "g.jsonl")
    assert loaded.header["settings"]["model"]["threshold_head"]["kind"] == "grid"
    assert torch.equal(loaded.trajectory.threshold_actions[:, 0], made.trajectory.threshold_actions[:, 0])
    assert len(set(loaded.trajectory.threshold[:, 0].tolist())) > 1


def test_one_process_of_an_accelerator_is_like_none(model, tokenizer, dataset, tmp_path):
    shared = generate(model, tokenizer, dataset, CONFIG, tmp_path / "g.jsonl", accelerator=PartialState())
    assert written(shared) == written(generate(model, tokenizer, dataset, CONFIG))


# ---------------------------------------------------------------- fingerprints


def test_fingerprint_sees_every_bit(tokenizer):
    model = make_model(len(tokenizer), dtype=torch.bfloat16)
    seen = {weights_fingerprint(model)}
    assert seen == {weights_fingerprint(make_model(len(tokenizer), dtype=torch.bfloat16))}
    with torch.no_grad():
        for parameter in list(model.parameters())[:5]:
            flat = parameter.view(-1)
            for place in (0, len(flat) - 1):
                flat[place] = torch.nextafter(flat[place], torch.tensor(math.inf, dtype=flat.dtype))
                seen.add(weights_fingerprint(model))
            flat[[0, 1]] = flat[[1, 0]]  # the same sum, in another order
            seen.add(weights_fingerprint(model))
    assert len(seen) == 16


def test_fingerprint_of_large_tensors_is_that_of_their_pieces(monkeypatch):
    from trl_diffusion.evaluation import fingerprints

    model = torch.nn.Linear(30, 30)
    whole = weights_fingerprint(model)
    monkeypatch.setattr(fingerprints, "_CHUNK", 7)
    assert weights_fingerprint(model) == whole
    (checksum,) = {fingerprints._checksum(torch.tensor([3, 5]))}
    assert checksum == (3 * fingerprints._ODD + 5 * 3 * fingerprints._ODD) % 2**64  # by hand, in Python's integers


def test_fingerprint_of_content():
    assert content_fingerprint([{"a": 1, "b": 2}]) == content_fingerprint([{"b": 2, "a": 1}])
    assert content_fingerprint(["ab", "c"]) != content_fingerprint(["a", "bc"])
