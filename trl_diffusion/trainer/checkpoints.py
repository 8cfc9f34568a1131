# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints that are whole or not there, and with all that a run needs to continue as if nothing had happened.

transformers writes a checkpoint in its place, file by file: a process that is killed meanwhile leaves a folder that
looks like the last checkpoint and cannot be read. Here it is written beside, and moved into its place when all
processes are done. It also holds what TRL keeps in memory alone: the rollouts that are still to be learned from.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from .agreement import anyone_busy, raise_together


if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

# Where checkpoints are written, within the output folder. The Trainer uploads nothing that begins with an underscore.
UNFINISHED = "_unfinished"
# The reference model, where it follows the policy.
REFERENCE = "reference.safetensors"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written. Earlier ones are whole."""


class CheckpointMixin(_Trainer):
    """For a `Trainer`: checkpoints appear at once, and carry `progress`. Mixed in before TRL's class."""

    _staging = False

    def progress(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What this process must remember, as tensors and as JSON."""
        raise NotImplementedError

    def restore_progress(self, tensors: dict[str, torch.Tensor], state: dict[str, Any] | None) -> None:
        """Go on from what `progress` returned, `None` if this process has nothing."""
        raise NotImplementedError

    @property
    def moving_reference(self) -> torch.nn.Module | None:
        """A reference model that follows the policy, whole in each process; `None` without one."""
        raise NotImplementedError

    def _get_output_dir(self, trial):
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, UNFINISHED) if self._staging else folder

    def _push_from_checkpoint(self, checkpoint_folder):
        if not self._staging:  # else later, from its place
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial):
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder = Path(self._get_output_dir(trial))
        staged, place = folder / UNFINISHED / name, folder / name
        if self.args.should_save:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # of a run that was killed
        self.accelerator.wait_for_everyone()
        self._staging = True
        try:
            # Where an engine waits for all processes inside, one that has failed is found by the launcher alone.
            self._do_together(lambda: self._stage(model, trial, folder, staged), place)
        finally:
            self._staging = False
        for turn in (self.accelerator.is_main_process, self.accelerator.is_local_main_process):
            self._do_together(lambda: _publish(staged, place) if turn else None, place)  # noqa: B023
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(place))
        if self.args.should_save:
            self._rotate(folder)
            with suppress(OSError):
                (folder / UNFINISHED).rmdir()

    def _stage(self, model, trial, folder: Path, staged: Path) -> None:
        super()._save_checkpoint(model, trial)
        if not self.args.save_only_model:
            self._save_progress(staged)
            if self.args.should_save and self.moving_reference is not None:
                weights = self.moving_reference.state_dict()
                save_file({name: values.cpu().clone() for name, values in weights.items()}, staged / REFERENCE)
        if self.args.should_save:
            self._say_where_the_best_one_is(folder, staged)

    def _do_together(self, work: Callable[[], None], place: Path) -> None:
        """Do a part of it in all processes, or fail in all of them."""
        error = None
        try:
            work()
        except Exception as raised:
            error = raised
        try:
            raise_together(self.accelerator, error)
        except Exception as raised:
            if self.args.should_save:
                shutil.rmtree(place.parent / UNFINISHED, ignore_errors=True)  # it may have filled the disk
            raise CheckpointError(
                f"{place} was not written: {raised}. Earlier checkpoints are whole: once the reason is gone, "
                "`trainer.train(resume_from_checkpoint=True)` continues from the last of them."
            ) from raised

    def _save_progress(self, staged: Path) -> None:
        tensors, state = self.progress()
        state["processes"] = self.accelerator.num_processes
        staged.mkdir(parents=True, exist_ok=True)
        # Views of one storage must be copied apart.
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        save_file(tensors, self._progress_file(staged), metadata={"state": json.dumps(state)})

    def _progress_file(self, folder: str | Path) -> Path:
        return Path(folder) / f"rollouts-{self.accelerator.process_index:05d}.safetensors"

    def _run_epoch(self, *args, **kwargs):
        if self.state.global_step >= self.state.max_steps:  # resumed at its end, where transformers would go on
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        tensors: dict[str, torch.Tensor] = {}
        error, state = None, None
        try:
            state, tensors = self._read_progress(checkpoint)
            if self.moving_reference is not None:
                self.moving_reference.load_state_dict(load_file(Path(checkpoint) / REFERENCE))
        except Exception as raised:
            error = raised
        # All go on from their rollouts, or none: else some would make rollouts while others learn.
        if anyone_busy(self.accelerator, state is None, error):
            state, tensors = None, {}
        self.restore_progress(tensors, state)

    def _read_progress(self, checkpoint: str) -> tuple[dict[str, Any] | None, dict[str, torch.Tensor]]:
        """What this process has saved there; nothing, if there were other processes."""
        path, device = self._progress_file(checkpoint), self.accelerator.device
        if not path.is_file():
            return None, {}
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            if state["processes"] != self.accelerator.num_processes:
                return None, {}
            return state, {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118

    def _say_where_the_best_one_is(self, folder: Path, staged: Path) -> None:
        best = self.state.best_model_checkpoint
        if best is not None and Path(best).parent == folder / UNFINISHED:
            self.state.best_model_checkpoint = str(folder / Path(best).name)
            self.state.save_to_json(str(staged / TRAINER_STATE_NAME))

    def _rotate(self, folder: Path) -> None:
        """transformers' rotation, of checkpoints that vanish at once."""
        limit, best = self.args.save_total_limit, self.state.best_model_checkpoint
        if limit is None or limit <= 0:
            return
        checkpoints = sort_checkpoints(str(folder), use_mtime=True)
        kept = {checkpoints[-1]}  # to resume from
        if best is not None:
            kept |= {checkpoint for checkpoint in checkpoints if Path(checkpoint).name == Path(best).name}
        for checkpoint in reversed(checkpoints):
            if checkpoint not in kept and len(kept) < limit:
                kept.add(checkpoint)
        for checkpoint in set(checkpoints) - kept:
            shutil.rmtree(_set_aside(Path(checkpoint)), ignore_errors=True)


def _publish(staged: Path, place: Path) -> None:
    """Move a checkpoint to its place, if another process that sees the same disk has not."""
    try:
        if not staged.is_dir():
            return
        for path in (*staged.rglob("*"), staged):
            _to_disk(path)
        earlier = _set_aside(place) if place.exists() else None  # of the same step, by an earlier run
        staged.rename(place)
    except FileNotFoundError:
        if not place.is_dir():  # else another machine was faster, and this one's view of the disk is late
            raise
        return
    _to_disk(place.parent)
    if earlier is not None:
        shutil.rmtree(earlier, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    """Move a folder away at once, to be deleted."""
    doomed = folder.parent / UNFINISHED / uuid.uuid4().hex
    doomed.parent.mkdir(exist_ok=True)
    folder.rename(doomed)
    return doomed


def _to_disk(path: Path) -> None:
    """A moved folder must not be on disk before its files are."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some network disks do not know this of folders
            raise
    finally:
        os.close(handle)
