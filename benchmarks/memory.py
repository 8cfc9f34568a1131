# SPDX-License-Identifier: Apache-2.0
"""Memory that training takes under each engine, in two real processes, beside what `scripts.check` says.

    python benchmarks/memory.py --output memory.json        # every engine, full training, with a reference, and LoRA
    python benchmarks/memory.py fsdp2 zero3 --hidden_size 256

What is measured is the private memory of the processes (of which files that are mapped are no part), above what it was
before the model was made. DeepSpeed's buckets, which have a fixed size, are made small.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # for the tests' launcher

from tests.engines import ENGINES, launcher  # noqa: E402
from tests.engines_on_cpu import prepare  # noqa: E402


MIB = 2**20
ROWS, PROMPT, COMPLETION, PROCESSES, RANK = 4, 64, 64, 2, 16
TRAININGS = ("full", "full, reference", "LoRA")


def private():
    """Bytes of memory that are this process's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this needs Linux")


class Watch(threading.Thread):
    """The largest amount of private memory in each phase."""

    def __init__(self):
        super().__init__(daemon=True)
        self.phase, self.peaks = "start", {}
        self.start()

    def run(self):
        while True:
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), private())
            time.sleep(0.002)


def make_checkpoint(folder, hidden, layers):
    """A LLaDA of random weights."""
    import torch

    from trl_diffusion.embedded.tokenizer import make_tokenizer
    from trl_diffusion.models import LLaDAConfig, LLaDAModelLM

    tokenizer, vocabulary = make_tokenizer(), 16_384
    config = LLaDAConfig(
        d_model=hidden,
        n_heads=hidden // 64,
        n_layers=layers,
        mlp_hidden_size=4 * hidden,
        vocab_size=vocabulary,
        embedding_size=vocabulary,
        max_sequence_length=PROMPT + COMPLETION,
        mask_token_id=tokenizer.mask_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LLaDAModelLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def work(model_path, training, output):
    """One process of a run."""
    prepare()
    import torch
    from datasets import Dataset
    from peft import LoraConfig

    from trl_diffusion import DiFFPOConfig, DiFFPOTrainer

    args = DiFFPOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=3,
        gradient_accumulation_steps=2,
        model_init_kwargs={"dtype": "bfloat16"} if training == "LoRA" else None,
        beta=0.1 if training == "full, reference" else 0.0,
        per_device_train_batch_size=ROWS,
        num_generations=ROWS,
        max_completion_length=COMPLETION,
        block_length=COMPLETION,
        max_denoising_steps=2,
        unmasking="random",
        use_cpu=True,
        bf16=True,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
    )
    before, watch = private(), Watch()

    class Watched(DiFFPOTrainer):
        def _generate_and_score_completions(self, inputs):
            watch.phase = "rollout"
            found = super()._generate_and_score_completions(inputs)
            watch.phase = "update"
            return found

    trainer = Watched(
        model=model_path,
        reward_funcs=lambda completions, **columns: [float(len(set(text))) for text in completions],
        args=args,
        train_dataset=Dataset.from_dict({"prompt": ["1+2*3-4/5=" * (PROMPT // 10)] * 8}),
        peft_config=LoraConfig(r=RANK) if training == "LoRA" else None,
    )
    trainer.train()
    found = {phase: (peak - before) / MIB for phase, peak in watch.peaks.items()}
    Path(output, os.environ["RANK"]).write_text(json.dumps(found))
    torch.distributed.barrier()
    os._exit(0)


def measure(engine, training, model_path):
    """MiB in each phase: of the process with more."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*launcher(engine), __file__, "--worker", model_path, training, folder]
        if "--mixed_precision" in command:
            command[command.index("--mixed_precision") + 1] = "bf16"
        environment = {
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "HF_HUB_OFFLINE": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",  # what is freed is given back
        }
        result = subprocess.run(
            list(map(str, command)), env=os.environ | environment, cwd=ROOT, capture_output=True, text=True
        )
        if result.returncode:
            sys.exit(result.stdout[-3000:] + result.stderr[-6000:])
        found = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    return {phase: max(process[phase] for process in found) for phase in ("rollout", "update")}


def computed(engine, training, model_path):
    """The same, by the command that plans."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trl_diffusion.models import get_family
    from trl_diffusion.scripts.memory import ENGINES as KINDS
    from trl_diffusion.scripts.memory import Update, needs_of

    config = AutoConfig.from_pretrained(model_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    rank, reference = RANK if training == "LoRA" else None, training == "full, reference"
    update = Update(ROWS, PROMPT, COMPLETION, 16, get_family(config).lora_targets, rank, 2 * ROWS, reference)
    memory = needs_of(model, update).under(KINDS[{"ddp": "multi_gpu"}.get(engine, engine)], PROCESSES, 2)
    # Here, device and host are the same memory.
    return {phase: (getattr(memory, phase) + memory.host) / MIB for phase in ("rollout", "update")}


def table(results):
    """Markdown."""
    lines = ["| engine | training | rollout, MiB | computed | update, MiB | computed |", "|---|---|---|---|---|---|"]
    for line in results:
        pairs = (f"{line['measured'][p]:.0f} | {line['computed'][p]:.0f}" for p in ("rollout", "update"))
        lines.append(f"| {line['engine']} | {line['training']} | {' | '.join(pairs)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--hidden_size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(folder, args.hidden_size, args.layers)
        results = []
        for engine in args.engines:
            for training in TRAININGS:
                what = engine, training, folder
                results.append(
                    {"engine": engine, "training": training, "measured": measure(*what), "computed": computed(*what)}
                )
                print(results[-1], flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
    else:
        main()
