# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from trl import TrlParser

from .parsing import make_parser, parse


DESCRIPTION = """Decode a task's problems, keep the answers in a file, and score them.

examples:
    trl-diffusion eval --model_name_or_path embedded/sudoku --task sudoku
    trl-diffusion eval --model_name_or_path GSAI-ML/LLaDA-8B-Instruct \\
        --task gsm8k --output_file llada.jsonl --max_batch_size 16
    accelerate launch --num_processes 8 -m trl_diffusion.cli eval \\
        --config evaluation.yaml

A run that was killed goes on when it is started again with the same `--output_file`; `trl-diffusion score` scores it
again, without the model. `--decoder_from trained/` decodes a base model as the trained one, to compare the two."""


@dataclass
class EvalArguments:
    """How many answers, and where to keep them."""

    _argument_group_name = "answers"

    output_file: str | None = field(
        default=None, metadata={"help": "File for the answers, with all to repeat them.", "metavar": "FILE"}
    )
    num_samples: int = field(default=1, metadata={"help": "Answers per problem, for pass@k."})
    batch_size: int = field(default=64, metadata={"help": "Answers that are decoded, and then kept, at a time."})
    seed: int = field(
        default=0,
        metadata={
            "help": "Seed of the sampling. The problems are the same for every seed: `--task_options '{\"seed\": 1}'` "
            "takes others."
        },
    )
    decoder_from: str | None = field(
        default=None,
        metadata={
            "help": "Another model, whose decoding settings are taken: to compare the two.",
            "metavar": "MODEL",
        },
    )
    json: bool = field(default=False, metadata={"help": "Print one line of JSON, for programs, instead of a table."})


def make() -> TrlParser:
    from .arguments import TASKS_CANVAS, ModelArguments, TaskArguments, decoding_arguments

    return make_parser(
        "eval", DESCRIPTION, ModelArguments, TaskArguments, EvalArguments, decoding_arguments(TASKS_CANVAS)
    )


def run(words: Sequence[str]) -> int:
    model_args, task_args, args, decoding = parse(make(), words)

    from ..evaluation import generate, score
    from .arguments import decoder_of, load_model, load_problems, processes_of
    from .figures import as_json
    from .files import check_kept, path_is, prepare
    from .tables import print_evaluation

    if args.output_file is not None:
        prepare(args.output_file, "--output_file")
    processes = processes_of(model_args.device)
    task, dataset = load_problems(task_args, model_args.model_name_or_path)
    if args.output_file is not None:
        check_kept(args.output_file, "--output_file", len(dataset))
    model, tokenizer = load_model(model_args)
    canvas = {"max_new_tokens": task.completion_length, "block_length": task.block_length}
    decoder = decoder_of(model, decoding, args.decoder_from, **canvas, temperature=0.0)
    with path_is("--output_file"):
        generations = generate(
            model,
            tokenizer,
            dataset,
            decoder,
            args.output_file,
            num_samples=args.num_samples,
            batch_size=args.batch_size,
            seed=args.seed,
            accelerator=processes if processes.num_processes > 1 else None,
            notes=asdict(task_args),
        )
    if processes.is_main_process:
        evaluation = score(generations, task.reward)
        if args.json:
            print(as_json({task.name: evaluation}))
        else:
            print_evaluation(task.name, evaluation)
    return 0
