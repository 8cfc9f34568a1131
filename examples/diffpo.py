# SPDX-License-Identifier: Apache-2.0
"""DiFFPO on a diffusion model: the script of grpo.py with two names changed.

    python examples/diffpo.py --model_name_or_path trl_diffusion/embedded/countdown --dataset_name examples/data \
        --output_dir diffpo-output --max_completion_length 16 --block_length 16 --max_steps 20
    accelerate launch --config_file examples/accelerate_configs/multi_gpu.yaml examples/diffpo.py \
        --model_name_or_path GSAI-ML/LLaDA-8B-Instruct --dataset_name examples/data --output_dir diffpo-output \
        --use_peft --lora_r 64 --load_in_4bit --dtype bfloat16 --max_completion_length 256 --max_steps 20
"""

import os

from datasets import load_dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import (
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_peft_config,
    get_quantization_config,
)

from trl_diffusion import DiFFPOConfig, DiFFPOTrainer


def reward_digits(completions, **kwargs):
    """Share of digits in the answer. It stands for your reward: columns of the dataset arrive in `kwargs`."""
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def main():
    parser = TrlParser((ScriptArguments, DiFFPOConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_and_config()
    training_args.model_init_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }
    dataset = load_dataset(script_args.dataset_name, name=script_args.dataset_config)
    trainer = DiFFPOTrainer(
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
