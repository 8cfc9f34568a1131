# SPDX-License-Identifier: Apache-2.0
"""
The real engines in CPU processes, on models so small that DeepSpeed would not shard them, and where accelerate would
quietly train with DDP in FSDP's place.
"""

import os

from torch.distributed.fsdp import FSDPModule


EVERYTHING_IS_SHARDED = {
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 0,
    "reduce_bucket_size": 16384,
    "overlap_comm": False,
}


def prepare():
    """Before the first trainer is made, where `accelerate launch` has asked for an engine."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        _prepare_deepspeed()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _prepare_fsdp()


def _prepare_deepspeed():
    import deepspeed
    from accelerate.utils import DeepSpeedPlugin

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled first, for a minute
    original = DeepSpeedPlugin.__post_init__

    def post_init(self):
        original(self)
        self.hf_ds_config.config["zero_optimization"] |= EVERYTHING_IS_SHARDED
        self.hf_ds_config.config["zero_allow_untested_optimizer"] = True
        self.hf_ds_config.config["zero_force_ds_cpu_optimizer"] = False  # it would be compiled, too

    DeepSpeedPlugin.__post_init__ = post_init


def _prepare_fsdp():
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    original = AcceleratorState.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if self.distributed_type == DistributedType.MULTI_CPU and plugin is not None:
            if self._mixed_precision != "no":
                plugin.set_mixed_precision(self._mixed_precision)
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init


def engine_of(trainer):
    """What really trains: its class, the stage of ZeRO, and the share of the parameters that is whole here."""
    engine = trainer.model_wrapped
    stage = engine.zero_optimization_stage() if hasattr(engine, "zero_optimization_stage") else None
    parameters = list(trainer.model.parameters())
    whole = [p.numel() > 0 and not hasattr(p, "full_tensor") for p in parameters]
    return [type(engine).__name__, stage, sum(whole) / len(parameters)]


def units_of(model):
    """The modules that FSDP2 gathers by themselves."""
    return [name for name, module in model.named_modules() if isinstance(module, FSDPModule)]
