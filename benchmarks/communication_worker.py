# SPDX-License-Identifier: Apache-2.0
"""Run by communication.py in several processes under one engine: counts what they send each other in an update."""

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback

from tests.engines_on_cpu import engine_of, prepare
from tests.trainers import make_trainer
from trl_diffusion.process_exit import let_gloo_finish_at_exit

from .collectives import CollectiveCounter, bytes_sent


# The trainers' own stopwatch tells what is going on; what is in none of its sections is the optimiser's.
PHASES = {
    "rollout_head": "rollout",
    "old": "old scores",
    "reference": "reference scores",
    "reward": "other",
}


class Spy(TrainerCallback):
    """Keeps what the last update has sent, and the passes that it made."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.counter = CollectiveCounter(self.phase)
        self.passes = Counter()
        policy = trainer.accelerator.unwrap_model(trainer.model)
        self._count_passes(policy)
        if trainer.ref_model is not None:
            self._count_passes(trainer.accelerator.unwrap_model(trainer.ref_model))

    def phase(self):
        sections = self.trainer._stopwatch._open
        return PHASES.get(sections[-1], sections[-1]) if sections else "step"

    def on_train_begin(self, *args, **kwargs):
        engine = self.trainer.model_wrapped
        if hasattr(engine, "zero_optimization_stage"):  # DeepSpeed steps within `backward`
            engine.step = self.trainer._stopwatch("step")(engine.step)

    def _count_passes(self, model):
        def count(*_):
            self.passes[self.phase()] += 1

        model.get_input_embeddings().register_forward_pre_hook(count)

    def on_step_begin(self, *args, **kwargs):
        self.counter.take()
        self.passes.clear()
        self.sent = bytes_sent()

    def on_step_end(self, *args, **kwargs):
        self.found = {"counts": self.counter.take(), "passes": dict(self.passes), "sent": bytes_sent() - self.sent}


def sizes(model):
    """Numbers of parameters, as `communication_model.Sizes` has them."""
    count = {name: getattr(p, "ds_numel", p.numel()) for name, p in model.named_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}

    def total(*patterns):
        return sum(size for name, size in count.items() if any(re.search(pattern, name) for pattern in patterns))

    return {
        "parameters": sum(count.values()),
        "trained": sum(count[name] for name in trained),
        "embeddings": total(r"embed_tokens"),
        "tail": total(r"lm_head", r"model\.norm\."),
        "last": total(r"down_proj"),
        "first": total(r"layers\.0\.self_attn\.[qkv]_proj"),
    }


def measure(case, model_path, folder):
    trainer = make_trainer(
        "diffpo",
        folder,
        AutoTokenizer.from_pretrained(model_path),
        model_path,
        peft_config=LoraConfig(r=4) if case["adapter"] else None,
        beta=0.1,
        learning_rate=1e-4,
        num_iterations=case["iterations"],
        max_steps=3,  # the first finds out in what order parameters are used; the third has a rollout
        gradient_accumulation_steps=case["accumulation"],
        gradient_checkpointing=case["checkpointing"],
        ds3_gather_for_generation=case["gathered"],
    )
    spy = Spy(trainer)
    trainer.add_callback(spy)
    with spy.counter:
        trainer.train()
    model = trainer.accelerator.unwrap_model(trainer.model)
    found = {"engine_class": engine_of(trainer)[0], "processes": trainer.accelerator.num_processes}
    return case | found | {"sizes": sizes(model)} | spy.found


def main(cases, model_path, output):
    found = []
    for case in json.loads(cases):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(case, model_path, folder))
    if torch.distributed.get_rank() == 0:
        Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    prepare()
    main(*sys.argv[1:])
    let_gloo_finish_at_exit()
    torch.distributed.destroy_process_group()
