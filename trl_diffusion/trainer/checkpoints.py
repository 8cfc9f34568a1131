# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints that are whole or not there, and with all that a run needs to continue as if nothing had happened.

transformers writes a checkpoint in its place, file by file: a process that is killed meanwhile leaves a folder that
looks like the last checkpoint and cannot be read. Here it is written beside, and moved into its place when all
processes are done. It also holds what TRL keeps in memory alone: the rollouts that are still to be learned from.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints


if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

# Where checkpoints are written, within the output folder. The Trainer uploads nothing that begins with an underscore.
UNFINISHED = "_unfinished"


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
            super()._save_checkpoint(model, trial)
            if not self.args.save_only_model:
                self._save_progress(staged)
            if self.args.should_save:
                self._say_where_the_best_one_is(folder, staged)
        except Exception as error:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # it may have filled the disk
            raise CheckpointError(
                f"{place} was not written: {error}. Earlier checkpoints are whole: once the reason is gone, "
                "`trainer.train(resume_from_checkpoint=True)` continues from the last of them."
            ) from error
        finally:
            self._staging = False
        self._publish(staged, place)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(place))
        if self.args.should_save:
            self._rotate(folder)
            with suppress(OSError):
                (folder / UNFINISHED).rmdir()

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
        path, state, tensors = self._progress_file(checkpoint), None, {}
        if path.is_file():
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["state"])
                if state["processes"] == self.accelerator.num_processes:
                    device = self.accelerator.device
                    tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
                else:
                    state = None
        self.restore_progress(tensors, state)

    def _say_where_the_best_one_is(self, folder: Path, staged: Path) -> None:
        best = self.state.best_model_checkpoint
        if best is not None and Path(best).parent == folder / UNFINISHED:
            self.state.best_model_checkpoint = str(folder / Path(best).name)
            self.state.save_to_json(str(staged / TRAINER_STATE_NAME))

    def _publish(self, staged: Path, place: Path) -> None:
        """Move a checkpoint to its place: on the first process, then on machines that do not share its disk."""
        self.accelerator.wait_for_everyone()
        for turn in (self.accelerator.is_main_process, self.accelerator.is_local_main_process):
            if turn and staged.is_dir():
                for path in (*staged.rglob("*"), staged):
                    _to_disk(path)
                if place.exists():  # of the same step, by an earlier run
                    _discard(place)
                staged.rename(place)
                _to_disk(place.parent)
            self.accelerator.wait_for_everyone()

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
            _discard(Path(checkpoint))


def _discard(folder: Path) -> None:
    """Delete a folder, which is gone before the first of its files is."""
    doomed = folder.parent / UNFINISHED / uuid.uuid4().hex
    doomed.parent.mkdir(exist_ok=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """A moved folder must not be on disk before its files are."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
