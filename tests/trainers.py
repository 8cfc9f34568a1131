# SPDX-License-Identifier: Apache-2.0
"""Trainers on tiny models, for the tests."""

import copy

import torch
from datasets import Dataset

import trl_diffusion as td


METHODS = {
    "agrpo": (td.AGRPOConfig, td.AGRPOTrainer),
    "coupled_grpo": (td.CoupledGRPOConfig, td.CoupledGRPOTrainer),
    "d2": (td.D2Config, td.D2Trainer),
    "diffpo": (td.DiFFPOConfig, td.DiFFPOTrainer),
    "diffu_grpo": (td.DiffuGRPOConfig, td.DiffuGRPOTrainer),
    "dmpo": (td.DMPOConfig, td.DMPOTrainer),
    "espo": (td.ESPOConfig, td.ESPOTrainer),
    "gdpo": (td.GDPOConfig, td.GDPOTrainer),
    "just_grpo": (td.JustGRPOConfig, td.JustGRPOTrainer),
    "spg": (td.SPGConfig, td.SPGTrainer),
    "trace_rl": (td.TraceRLConfig, td.TraceRLTrainer),
    "uni_grpo": (td.UniGRPOConfig, td.UniGRPOTrainer),
    "wd1": (td.WD1Config, td.WD1Trainer),
}
PROMPTS = ["1+1=", "12+3=", "7=", "(4-2)*3=", "10/5=", "9=", "3*3*3=", "2+2="]


def digits(completions, **kwargs):
    """Rewards digits, so that random completions differ in reward."""
    return [sum(c.isdigit() for c in text) / 4 for text in completions]


def make_trainer(method, tmp_path, tokenizer, model_path, reward=digits, peft_config=None, cls=None, **options):
    config, trainer = METHODS[method]
    train_dataset = options.pop("train_dataset", None) or Dataset.from_dict({"prompt": PROMPTS})
    eval_dataset = options.pop("eval_dataset", None)
    model = options.pop("model", model_path)
    quantization_config = options.pop("quantization_config", None)
    args = config(
        **{
            "output_dir": str(tmp_path),
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "disable_tqdm": True,
            "gradient_checkpointing": False,
            "save_strategy": "no",
            "logging_steps": 1,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "block_length": 4,
            "entropy_bound": 1.5,
        }
        | options
    )
    return (cls or trainer)(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=copy.deepcopy(tokenizer),
        quantization_config=quantization_config,
        peft_config=peft_config,
    )


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def spy(trainer_class):
    """A trainer that keeps what enters its loss."""

    class Spy(trainer_class):
        def __init__(self, *args, **kwargs):
            self.seen = []
            super().__init__(*args, **kwargs)

        def token_weights(self, batch, old_log_probs):
            weights = super().token_weights(batch, old_log_probs)
            self.seen[-1]["weights"] = weights
            return weights

        def score(self, *args, **kwargs):
            scores = super().score(*args, **kwargs)
            if torch.is_grad_enabled():
                self.seen[-1].setdefault("scores", []).append(scores)
            return scores

        def _compute_loss(self, model, inputs):
            draw = (self._step // self.args.steps_per_generation) % self.num_iterations
            self.seen.append({"draw": draw, "inputs": inputs})
            loss = super()._compute_loss(model, inputs)
            self.seen[-1]["loss"] = loss.item()
            width = inputs["completion_mask"].shape[1]
            self.seen[-1]["log_probs"] = self.seen[-1]["scores"][-1].token_log_probs[:, :width].detach()
            return loss

    return Spy
