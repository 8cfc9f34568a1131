# SPDX-License-Identifier: Apache-2.0
import os


os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CI", "1")  # no telemetry
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from functools import partial
from pathlib import Path

import pytest
import torch

from trl_diffusion.embedded.tokenizer import make_tokenizer
from trl_diffusion.models import LLaDAConfig, LLaDAModelLM


# Tests run side by side: one thread each.
torch.set_num_threads(1)

DATA = Path(__file__).parent / "data"


def make_model(vocab_size: int = 23, seed: int = 0, dtype: torch.dtype = torch.float32, **overrides) -> LLaDAModelLM:
    """A random model, sharp enough for its distributions to differ between positions."""
    torch.manual_seed(seed)
    config = LLaDAConfig(
        **{
            "vocab_size": vocab_size,
            "d_model": 32,
            "n_heads": 2,
            "n_layers": 2,
            "mlp_hidden_size": 48,
            "max_sequence_length": 64,
            "mask_token_id": 1,
            "pad_token_id": 0,
            "eos_token_id": 0,
            "init_std": 0.4,
        }
        | overrides
    )
    model = LLaDAModelLM(config).eval()
    return in_float64(model) if dtype == torch.float64 else model.to(dtype)


def in_float64(model: torch.nn.Module) -> torch.nn.Module:
    """transformers' norms compute in float32 whatever they are given, too coarse for what float64 is used for here."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_exact_norm, module)
    return model.double()


def _exact_norm(module: torch.nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    variance = hidden_states.square().mean(-1, keepdim=True)
    return module.weight * hidden_states * torch.rsqrt(variance + module.variance_epsilon)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def model_path(tmp_path_factory, tokenizer):
    """A tiny checkpoint on disk, with its tokenizer."""
    path = tmp_path_factory.mktemp("tiny_llada")
    make_model(len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def build(tmp_path, tokenizer, model_path):
    """Makes a trainer of a method, by its name, on the tiny checkpoint."""
    from .trainers import make_trainer  # imports TRL, which takes seconds

    def build(method, **options):
        return make_trainer(method, options.pop("path", tmp_path), tokenizer, model_path, **options)

    return build
