# SPDX-License-Identifier: Apache-2.0
"""The command that looks at a checkpoint before anything is trained."""

import json
import re
import shlex
from itertools import accumulate

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from trl import ModelConfig, get_quantization_config

from trl_diffusion import DiFFPOConfig
from trl_diffusion.cli.launching import with_config_file
from trl_diffusion.cli.train_options import parser_of
from trl_diffusion.models.hub import hub_options
from trl_diffusion.scripts import check
from trl_diffusion.scripts.check import main
from trl_diffusion.scripts.memory import held_while_decoding, kept_for_backward

from .families import CONFIGS, FAMILIES, VOCABULARY, shapes, write_checkpoint


SMALL = ["--prompt_length", "16", "--completion_length", "16", "--batch_size", "2"]
GROUP = ["--prompt_length", "16", "--completion_length", "16", "--batch_size", "8"]


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    def write(family):
        write_checkpoint(family, tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        return tmp_path / family

    return write


def report_of(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == bool(report["problems"])
    return report


def as_train_takes_it(command):
    """What `trl-diffusion train` makes of a command line, and what it leaves to the launcher."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["trl-diffusion", "train", "diffpo"]
    parser = parser_of("diffpo", DiFFPOConfig)
    return parser.parse_args_and_config([*words[3:], "--use_cpu", "--bf16", "false"], return_remaining_strings=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_of_every_family(checkpoint, capsys, family):
    report = report_of(capsys, checkpoint(family), *SMALL, "--lora_r", 4)
    facts, config = report["facts"], CONFIGS[family]
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes(config).items()}
    assert facts["class"] == config["architectures"][0] and facts["parameters"] == sum(sizes.values())
    assert facts["logit shift"] == (1 if family == "dream" else 0)
    assert facts["mask token"] == "1 '<|mask|>'" and facts["ends of text"] == ["0 '<|endoftext|>'"]
    linear = {n: shape for n, shape in shapes(config).items() if "proj.weight" in n}
    assert report["lora"]["modules"].startswith("14 of 15")
    assert report["lora"]["trained"] == sum(4 * sum(shape) for shape in linear.values())
    covered = sum(torch.Size(shape).numel() for shape in linear.values())
    assert report["lora"]["covered"].startswith(f"{covered:,} of {sum(sizes.values()):,}")
    (memory,) = report["memory"].values()
    assert memory["weights"] == 2 * sum(sizes.values()) + 4 * report["lora"]["trained"]
    assert memory["optimizer"] == 2 * memory["gradients"] == 8 * report["lora"]["trained"]
    assert memory["logits"] == 18 * 2 * 16 * VOCABULARY and memory["checkpointed"] < memory["activations"]


def test_memory_of_full_training_and_of_4_bit_weights(checkpoint, capsys):
    path = checkpoint("dream")
    full = report_of(capsys, path, *SMALL, "--full")["memory"]["multi_gpu"]
    alone = report_of(capsys, path, *SMALL)
    size = alone["facts"]["parameters"]
    assert (full["weights"], full["gradients"], full["optimizer"], full["gathered"], full["cast"]) == (
        4 * size,
        4 * size,
        8 * size,
        0,
        2 * size,
    )
    assert full["update"] == 12 * size + max(2 * size + full["checkpointed"] + full["logits"], 4 * size)
    assert full["rollout"] == 14 * size + full["logits"] + full["decoding"]
    replicated = report_of(capsys, path, *SMALL, "--num_processes", 4)["memory"]["multi_gpu"]
    buckets = 4 * alone["lora"]["trained"]
    assert replicated["buckets"] == buckets and alone["memory"]["multi_gpu"]["buckets"] == 0
    assert replicated["update"] == alone["memory"]["multi_gpu"]["update"] + buckets
    accumulated = report_of(capsys, path, *SMALL, "--full", "--gradient_accumulation_steps", 2)["memory"]["multi_gpu"]
    assert accumulated["update"] == 18 * size + full["checkpointed"] + full["logits"]
    for option in ("load_in_4bit", "load_in_8bit"):
        quantised = report_of(capsys, path, *SMALL, f"--{option}", "--lora_r", 1)
        quantised["memory"] = quantised["memory"]["multi_gpu"]
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=torch.bfloat16,
            quantization_config=get_quantization_config(ModelConfig(dtype="bfloat16", **{option: True})),
        )
        weights, trained = quantised["memory"]["weights"], quantised["lora"]["trained"]
        scales = sum(  # which the footprint leaves out
            p.quant_state.absmax.nbytes if option == "load_in_4bit" else p.SCB.nbytes
            for name, p in model.named_parameters()
            if name.endswith("proj.weight")
        )
        assert weights - 2 * trained == pytest.approx(model.get_memory_footprint() + scales, rel=0.02)
        assert (quantised["memory"]["gradients"], quantised["memory"]["optimizer"]) == (2 * trained, 4 * trained)


def test_memory_of_every_engine(checkpoint, capsys):
    """By hand, in bytes per parameter, on each of four devices."""
    report = report_of(capsys, checkpoint("llada"), *SMALL, "--full", "--num_processes", 4)
    expected = {
        "multi_gpu": (4, 8, 4, 4, 0, 2, 0),
        "zero1": (2, 3, 2, 0, 0, 0, 1),
        "zero2": (2, 3, 0.5, 0, 0, 0, 1.5),
        "fsdp2": (1, 2, 1, 0, 2, 0, 0),
        "zero3": (0.5, 3, 0.5, 0, 2, 0, 1.5),
        "zero3_offload": (0, 0, 0, 0, 2, 0, 0),
    }
    parts = ("weights", "optimizer", "gradients", "buckets", "gathered", "cast", "step")
    size = report["facts"]["parameters"]
    found = {name: tuple(memory[part] / size for part in parts) for name, memory in report["memory"].items()}
    assert found == expected and list(found) == list(expected)  # the fastest first
    assert report["memory"]["zero3_offload"]["host"] == 5.5 * size
    for memory in report["memory"].values():
        held = memory["weights"] + memory["optimizer"] + memory["buckets"]
        passing = memory["cast"] + memory["logits"]
        assert memory["rollout"] == held + memory["gathered"] + memory["decoding"] + passing
        passing += memory["units"] + memory["checkpointed"]
        assert memory["update"] == held + max(memory["gradients"] + memory["step"], passing)
    accumulated = report_of(
        capsys, checkpoint("llada"), *SMALL, "--full", "--num_processes", 4, "--gradient_accumulation_steps", 2
    )
    for name, memory in accumulated["memory"].items():  # FSDP's are whole, then
        gradients = 2 * size if name == "fsdp2" else report["memory"][name]["gradients"]
        assert memory["gradients"] == gradients
        held = memory["weights"] + memory["optimizer"] + memory["buckets"] + gradients
        passing = memory["cast"] + memory["logits"] + memory["units"] + memory["checkpointed"]
        assert memory["update"] == held + max(memory["step"], passing)


def test_memory_of_a_reference(checkpoint, capsys):
    """As large as the policy, in its type, divided if that is; adapters need none."""
    arguments = (checkpoint("llada"), *SMALL, "--num_processes", 4)
    without, with_one = (report_of(capsys, *arguments, "--full", "--beta", beta) for beta in (0, 0.1))
    assert "--beta 0.1" in with_one["launch"] and "--beta" not in without["launch"]
    size = without["facts"]["parameters"]
    expected = {"multi_gpu": 4, "zero1": 2, "zero2": 2, "fsdp2": 1, "zero3": 0.5, "zero3_offload": 0}
    for name, memory in with_one["memory"].items():
        plain = without["memory"][name]
        assert plain["reference"] == 0 and memory["reference"] == expected[name] * size
        for phase in ("rollout", "update"):
            assert memory[phase] == plain[phase] + memory["reference"]
    assert with_one["memory"]["zero3_offload"]["host"] == without["memory"]["zero3_offload"]["host"] + 0.5 * size
    for memory in report_of(capsys, *arguments, "--beta", 0.1)["memory"].values():
        assert memory["reference"] == 0


def test_memory_of_decoding(checkpoint, capsys):
    """What PyTorch's profiler sees being allocated, and as much as there are rows at a time."""
    path = checkpoint("a2d-qwen3")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    ids = torch.zeros(8, 48, dtype=torch.long)
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profiler:
        model.model(input_ids=ids, use_cache=False)
    events = sorted(profiler.events(), key=lambda event: event.time_range.end)
    changes = [event.self_cpu_memory_usage for event in events]
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    most = held_while_decoding(empty.model, 8, 48)
    assert most == pytest.approx(max(accumulate(changes)), rel=0.1)
    arguments = (path, *SMALL, "--full", "--gradient_accumulation_steps", 4)
    all_at_once, two = (report_of(capsys, *arguments, *more) for more in ((), ("--sampler_batch_size", 2)))
    assert "--sampler_batch_size 2" in two["launch"]
    rows = [held_while_decoding(empty.model.to(torch.bfloat16), n, 32) for n in (8, 2)]
    assert [r["memory"]["multi_gpu"]["decoding"] for r in (all_at_once, two)] == rows


def test_the_command_that_it_prints(checkpoint, capsys):
    """The fastest engine that fits, and options that the example takes."""
    path = checkpoint("llada")
    whole = report_of(capsys, path, *GROUP, "--full", "--num_processes", 2)
    needs = {name: max(m["rollout"], m["update"]) for name, m in whole["memory"].items()}
    fits = []
    for engine in ("multi_gpu", "zero2", "zero3_offload"):
        enough = needs[engine] * 1.001 / 0.9 / 2**30
        report = report_of(capsys, path, *GROUP, "--full", "--num_processes", 2, "--device_memory", enough)
        fits.append(report["engine"])
        _, args, model, launch = as_train_takes_it(report["launch"])
        assert launch == ["--accelerate_config", report["engine"], "--num_processes", "2"]
        assert launch_command_parser().parse_args([*with_config_file(launch), "script"]).num_processes == 2
        assert model.model_name_or_path == str(path) and not model.use_peft
        assert (args.per_device_train_batch_size, args.max_completion_length) == (8, 16)
    assert fits[0] == "multi_gpu" and fits[2] == min(needs, key=needs.get)
    assert needs[fits[1]] <= needs["zero2"]
    few = report_of(capsys, path, *GROUP, "--full", "--num_processes", 2, "--device_memory", 1e-6)
    (problem,) = few["problems"]
    assert "`--device_memory`" in problem and few["launch"] is None


def test_a_group_has_two_completions(checkpoint, capsys):
    path = checkpoint("llada")
    (problem,) = report_of(capsys, path, *SMALL, "--batch_size", 1)["problems"]
    assert "`--batch_size`" in problem
    assert report_of(capsys, path, *SMALL, "--batch_size", 1, "--num_processes", 2)["launch"]


def test_the_command_for_adapters(checkpoint, capsys):
    path = checkpoint("llada")
    launch = report_of(capsys, path, *GROUP, "--load_in_4bit", "--lora_r", 4)["launch"]
    task, _, model, rest = as_train_takes_it(launch)
    assert task.task == "<task>" and not rest
    assert (model.use_peft, model.lora_r, model.load_in_4bit, model.dtype) == (True, 4, True, "bfloat16")
    many = report_of(capsys, path, *GROUP, "--load_in_4bit", "--num_processes", 2)
    assert list(many["memory"]) == ["multi_gpu"]  # nothing else divides quantised weights


@pytest.mark.parametrize("lora", [False, True])
def test_what_is_kept_is_what_a_real_forward_pass_keeps(checkpoint, lora):
    config = AutoConfig.from_pretrained(checkpoint("a2d-qwen3"))

    def make():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])) if lora else model

    real = make()
    own = {p.untyped_storage().data_ptr() for p in real.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    real.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        (scores,) = real(
            torch.zeros(2, 24, dtype=torch.long),
            logits_to_keep=16,
            use_cache=False,
            reduction=lambda logits, _: (logits.log_softmax(-1)[:, 0],),
        ).reduced
    expected = sum(storage.nbytes() for storage in kept.values())
    assert scores.requires_grad
    with torch.device("meta"):
        empty = make()
    assert kept_for_backward(empty, 2, 8, 16) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "not a known masked diffusion language model"),
        ({"model_type": "unheard-of"}, "custom code"),
        ({"alibi": True}, "alibi"),
        ({"mask_token_id": 99}, "`mask_token_id=99` is outside"),
        ({"vocab_size": 10, "embedding_size": 10, "mask_token_id": 1}, "23 tokens and the model only 10 embeddings"),
        ({"max_sequence_length": 8}, "more than the 8 positions"),
        ({"mask_token_id": 0}, "is also an end-of-text token"),
        ({"d_model": "wide"}, "TypeError"),
        ({"n_heads": 3}, "must be a multiple of `n_heads` (3)"),
        ({"n_kv_heads": 3}, "must be a multiple of `n_kv_heads` (3)"),
        ({"n_layers": [2]}, "TypeError"),
        ({"n_layers": 0}, "not found in the base model"),
        ({"mask_token_id": "1"}, "mask_token_id"),
        ({"mask_token_id": -1}, "`mask_token_id=-1` is outside"),
        ({"logit_shift": 5}, "`logit_shift` of the model's configuration must be 0 or 1, got 5"),
        ({"logit_shift": True}, "logit_shift"),
        ({"block_size": -4}, "`block_size` of the model's configuration must be at least 1"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}}, "rope_scaling"),
        ({"layer_types": ["chunked_attention", "full_attention"]}, "layer_types"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantised by 'gptq'"),
    ],
)
def test_problems_are_named(checkpoint, capsys, change, words):
    path = checkpoint("llada")
    config = json.loads((path / "config.json").read_text()) | change
    (path / "config.json").write_text(json.dumps(config))
    report = report_of(capsys, path, *SMALL)
    assert any(words in problem for problem in report["problems"]), report["problems"]


def test_a_model_without_a_tokenizer(tmp_path, capsys):
    write_checkpoint("llada", tmp_path)
    (problem,) = report_of(capsys, tmp_path, *SMALL)["problems"]
    assert problem.startswith("No tokenizer")


def test_what_people_read(checkpoint, capsys):
    path = checkpoint("llada")
    assert main([str(path), *SMALL]) == 0
    text = capsys.readouterr().out
    assert "Ready to train." in text and "LLaDA" in text and "MiB" in text
    (line,) = re.findall(r"^trl-diffusion train .*?[^\\]$", text, flags=re.MULTILINE | re.DOTALL)
    assert line == report_of(capsys, path, *SMALL)["launch"]
    assert main([str(path), *SMALL, "--mask_token_id", "500"]) == 1
    assert "PROBLEM: `mask_token_id=500`" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch_size", "many"],
        ["--batch_size", "0"],
        ["--completion_length", "-4"],
        ["--prompt_length", "0"],
        ["--lora_r", "0"],
        ["--num_processes", "0"],
        ["--device_memory", "nan"],
        ["--device_memory", "inf"],
        ["--device_memory", "0"],
        ["--device_memory", "-1"],
        ["--beta", "nan"],
        ["--beta", "-0.1"],
        ["--device_memory", "much"],
        ["--full", "--load_in_4bit"],
        ["--load_in_8bit", "--load_in_4bit"],
    ],
)
def test_arguments_are_checked(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["somewhere", *arguments])
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_a_canvas_may_fill_all_positions(checkpoint, capsys):
    path = checkpoint("llada")
    config = json.loads((path / "config.json").read_text()) | {"max_sequence_length": 32}
    (path / "config.json").write_text(json.dumps(config))
    assert report_of(capsys, path, *SMALL)["problems"] == []
    assert len(report_of(capsys, path, *SMALL, "--prompt_length", 17)["problems"]) == 1


def test_the_revision_is_the_one_that_is_asked_for(monkeypatch, capsys):
    asked = []

    def look(name, **options):
        asked.append((name, options))
        raise OSError("no network here")

    monkeypatch.setattr(check, "find_adapter_config_file", look)
    report = report_of(capsys, "user/model", *SMALL, "--revision", "branch")
    assert asked == [("user/model", {"revision": "branch"})] and report["problems"] == ["no network here"]
    options = {"revision": "a", "token": None, "subfolder": "b", "dtype": "float32", "local_files_only": True}
    assert hub_options(options) == {"revision": "a", "subfolder": "b", "local_files_only": True}


def test_a_configuration_that_is_no_json(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    (problem,) = report_of(capsys, tmp_path, *SMALL)["problems"]
    assert "config.json" in problem


def test_an_adapter(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text("{}")
    (problem,) = report_of(capsys, tmp_path, *SMALL)["problems"]
    assert "adapter" in problem and "base model" in problem


def test_completions_that_blocks_do_not_fill(checkpoint, capsys):
    (problem,) = report_of(capsys, checkpoint("sdar"), *SMALL, "--completion_length", 10)["problems"]
    assert problem == "`completion_length=10` is no multiple of the blocks of 4."


def test_ends_that_the_generation_configuration_names(checkpoint, capsys, tokenizer):
    path = checkpoint("dream")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7]}))
    token = tokenizer.convert_ids_to_tokens(7)
    assert report_of(capsys, path, *SMALL)["facts"]["ends of text"] == ["0 '<|endoftext|>'", f"7 {token!r}"]


@pytest.mark.parametrize("ends", [-1, 999999, "x", [[0]]])
def test_ends_that_cannot_be(checkpoint, capsys, ends):
    path = checkpoint("dream")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert report_of(capsys, path, *SMALL)["problems"]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_checkpoint_that_is_quantised_already(checkpoint, capsys, bits):
    path = checkpoint("dream")
    expected = report_of(capsys, path, *SMALL, f"--load_in_{bits}bit")["memory"]
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", f"load_in_{bits}bit": True}
    (path / "config.json").write_text(json.dumps(config))
    report = report_of(capsys, path, *SMALL)
    assert report["memory"] == expected and report["facts"]["quantised"] == f"bitsandbytes, {bits} bits"
    (problem,) = report_of(capsys, path, *SMALL, "--full")["problems"]
    assert "train an adapter" in problem


def test_what_checkpointing_keeps(checkpoint, capsys):
    """The layers' inputs and one layer: counted from models with more and fewer of them (the first keeps less)."""
    path = checkpoint("llada")
    config = json.loads((path / "config.json").read_text())
    kept = {}
    for layers in (1, 2, 4):
        (path / "config.json").write_text(json.dumps(config | {"n_layers": layers}))
        kept[layers] = report_of(capsys, path, *SMALL)["memory"]["multi_gpu"]
    one_layer = kept[2]["activations"] - kept[1]["activations"]
    one_input = 2 * 32 * config["d_model"] * 2  # rows, length, width, bytes
    beside = kept[1]["activations"] - one_layer
    for layers, memory in kept.items():
        assert memory["activations"] == beside + layers * one_layer
        assert memory["checkpointed"] == pytest.approx(beside + (layers - 1) * one_input + one_layer, rel=0.05)
