# SPDX-License-Identifier: Apache-2.0
"""GRPO on an autoregressive model, with TRL alone.

    accelerate launch examples/grpo.py --model_name_or_path Qwen/Qwen3-0.6B --dataset_name examples/data \
        --output_dir grpo-output --max_completion_length 32 --max_steps 20
"""

import os

from datasets import load_dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import (
    GRPOConfig,
    GRPOTrainer,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_peft_config,
    get_quantization_config,
)


def reward_digits(completions, **kwargs):
    """Share of digits in the answer. It stands for your reward: columns of the dataset arrive in `kwargs`."""
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def main():
    parser = TrlParser((ScriptArguments, GRPOConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_and_config()
    training_args.model_init_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }
    dataset = load_dataset(script_args.dataset_name, name=script_args.dataset_config)
    trainer = GRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=reward_digits,
        args=training_args,
        train_dataset=dataset[script_args.dataset_train_split],
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
    )
    # Started again, the script goes on from its last checkpoint.
    folder = training_args.output_dir
    trainer.train(resume_from_checkpoint=get_last_checkpoint(folder) if os.path.isdir(folder) else None)
    trainer.save_model(training_args.output_dir)


if __name__ == "__main__":
    main()
