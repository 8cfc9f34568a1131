# SPDX-License-Identifier: Apache-2.0
"""Run by test_distributed.py with torchrun: every process checks what it sees, and fails with its own message."""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import CollapseGuard, DiffuGRPOConfig, DiffuGRPOTrainer, DiffusionGenerationConfig
from trl_diffusion.cli.main import main
from trl_diffusion.evaluation import frontier_settings, generate, load_generations, load_sweep, sweep
from trl_diffusion.evaluation.generate import _Job
from trl_diffusion.generation import DiffusionSampler
from trl_diffusion.process_exit import let_gloo_finish_at_exit
from trl_diffusion.tasks import get_task
from trl_diffusion.trainer.checkpoints import CheckpointError
from trl_diffusion.trainer.trl_hooks import logs as log_hooks

from . import trainers
from .families import write_checkpoint


def make_trainer(model_path, output_dir, cls=DiffuGRPOTrainer):
    args = DiffuGRPOConfig(
        output_dir=output_dir,
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        block_length=4,
    )
    trainer = cls(
        model=model_path,
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_dict({"prompt": ["1=", "2="]}),
    )
    trainer.model.train()
    return trainer


def ties(prompts, completions, **kwargs):
    """The same for all completions of prompts with a plus."""
    digits = trainers.digits(completions)
    return [0.5 if "+" in prompt else digit for prompt, digit in zip(prompts, digits, strict=True)]


# TRL's "bnpo" is a mean over each process's own tokens, and depends on their number by definition.
OPTIONS = {
    **{name: {"loss_type": "dapo"} for name in ("diffu_grpo", "coupled_grpo")},
    **{name: {"beta": 0.0} for name in ("wd1", "spg")},
    "dmpo": {"learning_rate": 1e-4},  # faster, its losses tell roundings of the fourth update apart
    "trace_rl": {"steps_per_segment": 2},
    "joint": {"regime": "joint", "threshold_per_block": True},
    "sampler": {"regime": "sampler", "beta": 0.0},
    "adaptive": {"weight_baseline": "negative", "min_ess": 0.7, "beta": 0.05},
}
VARIANTS = {"joint": "diffpo", "sampler": "diffpo", "adaptive": "dmpo"}
for name in ("diffpo", "agrpo", "dmpo", "joint"):
    VARIANTS[f"{name}_lora"] = VARIANTS.get(name, name)
    OPTIONS[f"{name}_lora"] = OPTIONS.get(name, {}) | {
        "peft_config": LoraConfig(r=2, lora_alpha=1, init_lora_weights=False, modules_to_save=["lm_head"])
    }


def make_variant(name, model_path, output_dir, **options):
    """A trainer of a method or of a variant of one: eight completions of one prompt, shared by all processes."""
    return trainers.make_trainer(
        VARIANTS.get(name, name),
        output_dir,
        AutoTokenizer.from_pretrained(model_path),
        model_path,
        **{
            "num_iterations": 2,
            "max_steps": 4,
            "beta": 0.1,
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 8 // int(os.environ["WORLD_SIZE"]),
            "num_generations": 8,
        }
        | OPTIONS.get(name, {})
        | options,
    )


def training_does_not_depend_on_the_number_of_processes(model_path, output_dir):
    """Written down for comparison."""
    # Two groups, each in a process of its own if there are two: now and then one of them has nothing to score.
    some_groups_tie = {"reward": ties, "num_generations": 4, "beta": 0.0}
    everything = (*trainers.METHODS, *VARIANTS)
    record = {}
    for name in os.environ.get("TRAINED", ",".join(everything)).split(","):
        options = some_groups_tie if "SOME_GROUPS_TIE" in os.environ else {}
        trainer = make_variant(name, model_path, output_dir, **options)
        trainer.train()
        logs = trainer.state.log_history
        record[name] = {
            key: [entry[key] for entry in logs if key in entry]
            for key in (
                "loss",
                "grad_norm",
                "reward",
                "kl",
                "sampler/nfe",
                "entropy",
                "row_weight/abs",
                "target/ess",
                "target/coefficient",
                "threshold/mean",
            )
        }
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}  # whole, on the first process
        record[name]["weights"] = [weights[key].double().sum().item() for key in sorted(weights)]
    if os.environ["RANK"] == "0":
        Path(output_dir, "record.json").write_text(json.dumps(record))


def rollouts_of_one_process_are_lost(model_path, output_dir):
    """Half of a checkpoint is gone: no process goes on from its rollouts, and none waits for another."""
    folder = Path(output_dir, "lost")
    options = {"num_iterations": 2, "steps_per_generation": 2, "save_strategy": "steps", "save_steps": 1}
    make_variant("diffpo", model_path, folder, **options | {"max_steps": 1}).train()
    if os.environ["RANK"] == "1":
        (folder / "checkpoint-1" / "rollouts-00001.safetensors").unlink()
    trainer = make_variant("diffpo", model_path, folder, **options | {"max_steps": 3})
    made, rollout = [], trainer.rollout
    trainer.rollout = lambda ids: made.append(trainer.state.global_step) or rollout(ids)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=True)
    assert made == [1], made


def a_checkpoint_that_one_process_cannot_write(model_path, output_dir):
    """All hear of it, at once, and nothing is left of it; whichever process it is."""
    for failing in (0, 1):
        folder = Path(output_dir, f"full-{failing}")
        trainer = make_variant("diffpo", model_path, folder, save_strategy="steps", save_steps=1, max_steps=2)
        rank = trainer.accelerator.process_index

        def fail(staged):
            raise OSError(28, "No space left on device")

        if rank == failing:
            trainer._save_progress = fail
        started = time.perf_counter()
        try:
            trainer.train()
        except CheckpointError as error:
            who = "" if rank == failing else f"Process {failing} of 2 failed: "
            assert f"checkpoint-1 was not written: {who}" in str(error) and "No space left" in str(error), error
        else:
            raise AssertionError("it went on")
        assert time.perf_counter() - started < 30
        trainer.accelerator.wait_for_everyone()
        assert not (folder / "_unfinished").exists() and not list(folder.glob("checkpoint-*"))


def a_guard_stops_all_processes_or_none(model_path, output_dir):
    """What each has measured by itself differs: the first decides."""
    trainer = make_trainer(model_path, output_dir)
    for slow in (0, 1):
        guard = CollapseGuard("stop", limits={"time/rollout": (None, 1.0)}, patience=1)
        trainer.control.should_training_stop = False
        guard.on_train_begin(trainer.args, trainer.state, trainer.control)
        seconds = 2.0 if trainer.accelerator.process_index == slow else 0.5
        guard.on_log(trainer.args, trainer.state, trainer.control, logs={"time/rollout": seconds})
        assert trainer.control.should_training_stop == (slow == 0)


def metrics_span_the_processes(model_path, output_dir):
    """Processes hold different numbers of values: 1, 2, 3 and none."""
    trainer = make_trainer(model_path, output_dir)
    rank = trainer.accelerator.process_index
    values = torch.tensor([1.0, 2.0, 3.0]) if rank == 0 else torch.tensor([])
    for reduction in ("mean", "min", "max"):
        trainer.record_metric(reduction, values, reduction)
    trainer.record_metric("other", values + 10 if rank == 0 else torch.tensor([21.0]))
    assert {name: trainer._metrics["train"][name] for name in ("mean", "min", "max", "other")} == {
        "mean": [2.0],
        "min": [1.0],
        "max": [3.0],
        "other": [(11 + 12 + 13 + 21) / 4],
    }


def histograms_and_canvases_span_the_processes(model_path, output_dir):
    """Each process has values and completions of its own; the first alone shows those of all, in TRL's order."""
    options = {"num_generations": 4, "log_completions": True, "log_histograms": True, "max_steps": 1}
    trainer = make_variant("joint", model_path, output_dir, **options)
    rank, sent, shown = trainer.accelerator.process_index, [], []
    log_hooks.log_histograms = lambda values, *_: sent.append(values)
    log_hooks.print_completions = lambda tokenizer, prompts, canvases, *_, **__: shown.append((prompts, canvases))
    trainer.train()
    values = torch.tensor([[1.0, torch.nan], [float(rank), 5.0]])
    trainer.record_histogram("own", values)
    if rank:
        assert (sent, shown) == ([], []) and not trainer._histograms["train"]
        return
    first = sent[0]
    assert first["sampler/nfe_histogram"].shape == (8,) and first["threshold/histogram"].numel() in range(8, 17)
    assert first["sampler/nfe_histogram"].mean().item() == trainer.state.log_history[0]["sampler/nfe"]
    assert trainer._histograms["train"]["own"][0].tolist() == [1.0, 0.0, 5.0, 1.0, 1.0, 5.0]
    ((prompts, canvases),) = shown
    assert len(canvases) == len(prompts) == 8 and len({prompts[0], prompts[4]}) == 2
    for (ids, _), text in zip(canvases, trainer._logs["completion"], strict=True):
        ends = [i for i, token in enumerate(ids) if token in trainer.eos_token_ids]
        ids = ids[: min(ends, default=len(ids))]
        assert trainer.processing_class.decode(ids, skip_special_tokens=True) == text


def processes_make_equally_many_passes(model_path, output_dir):
    """One process writes a token per pass and the other whole blocks, in lockstep, as sharded parameters need it."""

    class Sharded(DiffuGRPOTrainer):
        needs_lockstep = True

    trainer = make_trainer(model_path, output_dir, Sharded)
    trainer.model.eval()
    rank = trainer.accelerator.process_index
    trainer.args.entropy_bound = [0.0, 1e9][rank]
    passes = []
    trainer.model.register_forward_hook(lambda *_: passes.append(1))
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    trainer.rollout(tokenizer(["1+2=", "3="]).input_ids)
    nfe = trainer._metrics["eval"]["sampler/nfe_max"][-1]
    everyone = trainer.accelerator.gather(torch.tensor([len(passes)])).tolist()
    assert everyone == [nfe, nfe] and nfe > 2, (everyone, nfe)
    trainer.args.max_denoising_steps = 4  # a budget: the slow one gives in
    passes.clear()
    trainer.rollout(tokenizer(["1+2=", "3="]).input_ids)
    assert trainer.accelerator.gather(torch.tensor([len(passes)])).tolist() == [4, 4]


def cached_rollouts_stay_in_step(model_path, output_dir):
    """A block-causal model fills its cache in a pass of its own; here one process has no prompts to fill in."""
    folder = Path(output_dir) / f"sdar-{os.environ['RANK']}"
    write_checkpoint("sdar", folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    trainer = make_trainer(model_path, output_dir)
    rank = trainer.accelerator.process_index
    decoder = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, entropy_bound=[0.0, 1e9][rank])
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    ids = torch.tensor([[5, 6, 7, 8, 9], [4, 5, 6, 7, 8]])[: 2 - 2 * rank]
    trajectory = DiffusionSampler(model, decoder).sample(
        ids, seeds=torch.arange(len(ids)), anyone_busy=trainer._anyone_busy
    )
    everyone = trainer.accelerator.gather(torch.tensor([len(passes)])).tolist()
    assert everyone[0] == everyone[1] == 9 and (rank == 1 or trajectory.nfe.tolist() == [8, 8]), everyone


def checks_of_the_cache_stay_in_step(model_path, output_dir):
    """Where every other step is made twice, and one process has no rows at all."""
    trainer = make_trainer(model_path, output_dir)
    rank = trainer.accelerator.process_index
    decoder = DiffusionGenerationConfig(
        max_new_tokens=8, block_length=4, entropy_bound=0.0, approximate_cache="dual", drift_check_rate=1.0
    )
    passes = []
    trainer.model.register_forward_hook(lambda *_: passes.append(1))
    ids = torch.tensor([[5, 6, 7], [4, 5, 6]])[: 2 - 2 * rank]
    DiffusionSampler(trainer.model, decoder).sample(
        ids, seeds=torch.arange(len(ids)), anyone_busy=trainer._anyone_busy
    )
    everyone = trainer.accelerator.gather(torch.tensor([len(passes)])).tolist()
    assert everyone == [8 + 6] * 2, everyone  # all but the first step of each of two blocks are checked


def rollouts_do_not_wait_without_need(model_path, output_dir):
    trainer = make_trainer(model_path, output_dir)
    rank = trainer.accelerator.process_index
    config = trainer.args.generation_config()
    config.entropy_bound = [0.0, 1e9][rank]
    passes = []
    trainer.model.register_forward_hook(lambda *_: passes.append(1))
    DiffusionSampler(trainer.model, config).sample(torch.tensor([[3, 4]]), seeds=torch.tensor([0]))
    assert len(passes) == [8, 2][rank]


def an_evaluation_is_shared(model_path, output_dir):
    """Seven prompts, two samples each: what one process writes, in a file and in memory."""
    state = PartialState(cpu=True)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_path), AutoTokenizer.from_pretrained(model_path)
    dataset = Dataset.from_dict({"prompt": trainers.PROMPTS[:7]})
    decoder = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, entropy_bound=1.0)
    arguments = {"num_samples": 2, "batch_size": 3}
    path = Path(output_dir) / "generations.jsonl"
    decoded = []
    model.register_forward_hook(lambda *_: decoded.append(1))
    shared = generate(model, tokenizer, dataset, decoder, path, accelerator=state, **arguments)
    passes = len(decoded)
    in_memory = generate(model, tokenizer, dataset, decoder, accelerator=state, **arguments)
    alone = generate(model, tokenizer, dataset, decoder, **arguments)
    assert passes < len(decoded) - 2 * passes  # what both made together, one of them makes alone

    def written(generations):
        return [
            (g.prompt_index, g.sample_index, g.seed, g.text, g.trajectory.completion_ids.tolist(), g.nfe)
            for g in generations.samples
        ]

    assert written(shared) == written(in_memory) == written(alone) == written(load_generations(path))
    state.wait_for_everyone()
    if state.is_main_process:  # as if it had been killed, with everything but two samples of the other process
        header, *lines = path.read_text().splitlines(keepends=True)
        path.with_name("generations.jsonl.part-00001-dead").write_text(header + "".join(lines[:-2]))
        path.unlink()
    state.wait_for_everyone()
    decoded.clear()
    again = generate(model, tokenizer, dataset, decoder, path, accelerator=state, **arguments)
    assert written(again) == written(alone) and bool(decoded) == state.is_main_process
    assert [p.name for p in Path(output_dir).glob("generations*")] == ["generations.jsonl"]
    assert [entry["processes"] for entry in load_generations(path).header["made_by"]] == [2]
    state.wait_for_everyone()


def a_frontier_is_shared(model_path, output_dir):
    """The command, with two models: each process decodes a half, and one of them writes and speaks."""
    folder, decoded, decode = Path(output_dir), [], _Job.decode
    _Job.decode = lambda job, keys: decoded.extend(keys) or decode(job, keys)
    words = ["--models", model_path, model_path, "--names", "one", "two", "--task", "sudoku", "--size", "6"]
    words += ["--max_new_tokens", "8", "--block_length", "4", "--device", "cpu", "--picture", str(folder / "f.png")]
    words += ["--entropy_bounds", "0.1", "1.0", "--confidence_thresholds", "0.9", "--tokens_per_step", "2"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["frontier", *words, "--output_file", str(folder / "points.jsonl")]) == 0
    assert len(decoded) == 2 * 4 * 3  # models, decoders, and half of the problems
    state = PartialState()
    assert state.num_processes == 2  # the command has found them itself
    assert ("passes" in printed.getvalue()) == state.is_main_process
    state.wait_for_everyone()
    shared = (folder / "points.jsonl").read_text()
    if state.is_main_process:
        assert [path.name for path in folder.glob("points*")] == ["points.jsonl"] and (folder / "f.png").is_file()
        task, model = get_task("sudoku"), AutoModelForCausalLM.from_pretrained(model_path).eval()
        tokenizer, config = AutoTokenizer.from_pretrained(model_path), {"max_new_tokens": 8, "block_length": 4}
        greedy = DiffusionGenerationConfig(**config, temperature=0.0)
        settings = frontier_settings(
            greedy, entropy_bounds=[0.1, 1.0], confidence_thresholds=[0.9], tokens_per_step=[2]
        )
        alone = sweep(model, tokenizer, task.load("test", 6), task.reward, settings, folder / "alone.jsonl")
        for points in load_sweep(folder / "points.jsonl").values():
            assert [(p.nfe, p.accuracy, p.tokens) for p in points] == [(p.nfe, p.accuracy, p.tokens) for p in alone]
    state.wait_for_everyone()
    decoded.clear()
    assert main(["frontier", *words, "--output_file", str(folder / "points.jsonl")]) == 0  # nothing is left to do
    assert not decoded and (folder / "points.jsonl").read_text() == shared
    state.wait_for_everyone()


if __name__ == "__main__":
    check, model_path, output_dir = sys.argv[1:]
    globals()[check](model_path, output_dir)
    let_gloo_finish_at_exit()
    Path(output_dir, f"{check}-{os.environ['RANK']}").touch()
    torch.distributed.destroy_process_group()
