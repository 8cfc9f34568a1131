# SPDX-License-Identifier: Apache-2.0
import os


os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CI", "1")  # no telemetry
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

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
    return LLaDAModelLM(config).to(dtype).eval()


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
