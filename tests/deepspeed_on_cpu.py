# SPDX-License-Identifier: Apache-2.0
"""The real DeepSpeed in two CPU processes, on models so small that it would not shard them by itself."""

import os


EVERYTHING_IS_SHARDED = {
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 0,
    "reduce_bucket_size": 16384,
    "overlap_comm": False,
}


def prepare():
    """Before the first trainer is made, where `accelerate launch` has asked for DeepSpeed."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
        return
    import deepspeed
    from accelerate.utils import DeepSpeedPlugin

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled first, for a minute
    original = DeepSpeedPlugin.__post_init__

    def post_init(self):
        original(self)
        self.hf_ds_config.config["zero_optimization"] |= EVERYTHING_IS_SHARDED
        self.hf_ds_config.config["zero_allow_untested_optimizer"] = True

    DeepSpeedPlugin.__post_init__ = post_init


def engine_of(trainer):
    """What really trains: the stage of ZeRO, and the share of the parameters that is whole on this process."""
    engine = trainer.model_wrapped
    stage = engine.zero_optimization_stage() if hasattr(engine, "zero_optimization_stage") else None
    parameters = list(trainer.model.parameters())
    return [type(engine).__name__, stage, sum(p.numel() > 0 for p in parameters) / len(parameters)]
