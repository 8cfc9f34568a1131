# SPDX-License-Identifier: Apache-2.0
"""Nothing is lost: checkpoints are whole or not there, and a run that is killed continues as if it had not been."""

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers.trainer_utils import get_last_checkpoint

from trl_diffusion.trainer import checkpoints as module
from trl_diffusion.trainer.checkpoints import UNFINISHED, CheckpointError

from .trainers import METHODS, losses


SAVING = {"save_strategy": "steps", "save_steps": 1}


def checkpoints(folder):
    return sorted((path.name for path in folder.glob("checkpoint-*")), key=lambda name: int(name.split("-")[1]))


@pytest.mark.parametrize("kills", [20])
@pytest.mark.slow
@pytest.mark.distributed
def test_killed_at_random_moments(tmp_path, model_path, kills):
    """While an update or a checkpoint is being made. The last run ends with the weights of an unbroken one."""
    steps = 14 * kills
    result = subprocess.run(
        [sys.executable, "-m", "tests.kill_worker", "diffpo", tmp_path, model_path, str(kills), str(steps)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=280,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    record = json.loads((tmp_path / "record.json").read_text())
    assert len(record) == kills and record[-1][1] > kills  # all of them went on a little
    for before, after in record:
        assert after >= before  # a step was done, and the kill took at most what came after its checkpoint
    weights, expected = (torch.load(tmp_path / run / "final.pt") for run in ("parts", "whole"))
    for name, values in expected.items():
        assert torch.equal(weights[name], values), name


def test_a_checkpoint_appears_at_once(build, tmp_path, monkeypatch):
    """Whatever is written last, the folder is in its place only after that."""
    seen = []
    save = module._publish

    def publish(staged, place):
        if staged.is_dir():
            seen.append((checkpoints(tmp_path), sorted(path.name for path in staged.iterdir())))
        save(staged, place)

    monkeypatch.setattr(module, "_publish", publish)
    build("diffpo", max_steps=2, **SAVING).train()
    assert [names for names, _ in seen] == [[], ["checkpoint-1"]]
    for (_, files), name in zip(seen, ("checkpoint-1", "checkpoint-2")):
        assert files == sorted(path.name for path in (tmp_path / name).iterdir())
        assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"} < set(files)
        assert "rollouts-00000.safetensors" in files


def test_models_alone(build, tmp_path):
    build("diffpo", max_steps=1, save_only_model=True, **SAVING).train()
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert "model.safetensors" in names and not {name for name in names if name.startswith(("rollouts", "optim"))}


@pytest.mark.parametrize("method", ["_save_optimizer_and_scheduler", "_save_rng_state", "_save_progress"])
def test_a_failing_disk_leaves_the_last_checkpoint(build, tmp_path, monkeypatch, method):
    build("diffpo", max_steps=1, **SAVING).train()
    trainer = build("diffpo", max_steps=3, **SAVING)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, method, fail)
    with pytest.raises(CheckpointError, match=r"checkpoint-2 was not written: .*No space left on device.*resume_from"):
        trainer.train(resume_from_checkpoint=True)
    assert checkpoints(tmp_path) == ["checkpoint-1"]
    assert not (tmp_path / UNFINISHED).exists()
    again = build("diffpo", max_steps=3, **SAVING)
    again.train(resume_from_checkpoint=True)
    assert checkpoints(tmp_path) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]


def test_files_that_cannot_grow(build, tmp_path):
    """A real error of the operating system, in the midst of the weights."""
    build("diffpo", max_steps=1, **SAVING).train()
    trainer = build("diffpo", max_steps=2, **SAVING)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large"):
            trainer.train(resume_from_checkpoint=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints(tmp_path) == ["checkpoint-1"]


def test_a_run_that_has_ended_does_not_go_on(build, tmp_path):
    """A job that is started again and again ends with the same model."""
    options = {"max_steps": 3, **SAVING}
    build("diffpo", **options).train()
    again = build("diffpo", **options)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 3 and checkpoints(tmp_path)[-1] == "checkpoint-3"


def test_leftovers_of_a_killed_run_are_cleared(build, tmp_path):
    leftover = tmp_path / UNFINISHED / "checkpoint-7"
    leftover.mkdir(parents=True)
    assert get_last_checkpoint(tmp_path) is None
    build("diffpo", max_steps=1, **SAVING).train()
    assert not leftover.exists() and checkpoints(tmp_path) == ["checkpoint-1"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_old_checkpoints_are_removed_but_for_the_best(build, tmp_path, limit):
    """The reward is best after the second update."""
    rewards = iter([0.0, 0.3, 1.0, 0.5, 0.4, 0.2, 0.1])

    class Judge(METHODS["diffpo"][1]):
        def evaluate(self, *args, **kwargs):
            metrics = {"eval_reward": next(rewards)}
            self.log(metrics)
            return metrics

    trainer = build(
        "diffpo", cls=Judge, max_steps=5, eval_strategy="steps", eval_steps=1, load_best_model_at_end=True,
        metric_for_best_model="eval_reward", greater_is_better=True, save_total_limit=limit,
        eval_dataset=Dataset.from_dict({"prompt": ["1+1="]}), **SAVING,
    )  # fmt: skip
    trainer.train()
    best = tmp_path / "checkpoint-3"
    assert Path(trainer.state.best_model_checkpoint) == best
    assert (
        checkpoints(tmp_path)
        == {
            1: ["checkpoint-3"],  # transformers removes the last one at the end
            2: ["checkpoint-3", "checkpoint-5"],
            3: ["checkpoint-3", "checkpoint-4", "checkpoint-5"],
        }[limit]
    )
    state = json.loads((best / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]) == best
    assert not (tmp_path / UNFINISHED).exists()


def test_a_checkpoint_of_another_trainer_has_no_rollouts(build, tmp_path):
    """Or one of another number of processes: the rollouts that were not used up are made again."""
    options = {"num_iterations": 2, "steps_per_generation": 2, "learning_rate": 0.0, **SAVING}
    build("diffpo", max_steps=1, **options).train()
    (tmp_path / "checkpoint-1" / "rollouts-00000.safetensors").unlink()
    trainer = build("diffpo", max_steps=5, **options)
    made = []
    trainer.rollout = lambda ids, rollout=trainer.rollout: made.append(trainer.state.global_step) or rollout(ids)
    with pytest.warns(UserWarning, match="made again"):
        trainer.train(resume_from_checkpoint=True)
    assert made == [1, 4]  # and the next when it is due


@pytest.mark.parametrize(
    "other",
    [
        {"steps_per_generation": 4},
        {"num_iterations": 3},
        {"per_device_train_batch_size": 8},
        {"num_generations": 2},
        {"beta": 0.1},
        {"temperature": 0.5},
        {"max_completion_length": 12},
        {"approximate_cache": "dual"},
        {"importance_sampling_clip_max": 3.0},
    ],
    ids=str,
)
def test_a_checkpoint_of_other_settings_has_no_rollouts(build, tmp_path, other):
    """What was left of its buffer has other columns, would be cut into other micro-batches, or was drawn otherwise."""
    options = {"num_iterations": 2, "steps_per_generation": 2, **SAVING}
    build("diffpo", max_steps=1, **options).train()
    trainer = build("diffpo", max_steps=3, **(options | other))
    made = []
    trainer.rollout = lambda ids, rollout=trainer.rollout: made.append(trainer.state.global_step) or rollout(ids)
    with pytest.warns(UserWarning, match=f"{next(iter(other))} changed.*made again"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert made[0] == 1 and len(losses(trainer)) == 3


@pytest.mark.parametrize("folder", ["/proc/nothing", "file/below"])
def test_a_folder_that_cannot_be_written_is_found_at_construction(build, tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="Nothing can be written in `output_dir=.*Not a directory|No such file"):
        build("diffpo", path=tmp_path / folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(build, tmp_path, value):
    class Broken(METHODS["diffpo"][1]):
        def _pass_loss(self, *args):
            loss = super()._pass_loss(*args)
            return loss * value if self.state.global_step == 1 else loss

    trainer = build("diffpo", cls=Broken, max_steps=3, **SAVING)
    with pytest.raises(FloatingPointError, match=r"The loss of update 2 is (nan|inf).* resume"):
        trainer.train()
    assert checkpoints(tmp_path) == ["checkpoint-1"]
    saved = load_file(tmp_path / "checkpoint-1" / "model.safetensors")
    assert all(values.isfinite().all() for values in saved.values())
    for name, values in trainer.model.state_dict().items():
        assert values.isfinite().all(), name


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_changes_nothing(build, tmp_path, max_grad_norm):
    trainer = build("diffpo", max_steps=3, max_grad_norm=max_grad_norm, **SAVING)
    weight = trainer.model.lm_head.weight
    weight.register_hook(lambda grad: grad * (torch.inf if trainer.state.global_step == 1 else 1))
    with pytest.raises(FloatingPointError, match="The gradient of update 2 is (nan|inf)"):
        trainer.train()
    assert checkpoints(tmp_path) == ["checkpoint-1"] and weight.isfinite().all()


def test_a_reference_that_moves_is_kept(build, tmp_path):
    options = {"beta": 0.5, "sync_ref_model": True, "ref_model_sync_steps": 1, "learning_rate": 1e-1, **SAVING}
    whole = build("diffpo", max_steps=4, path=tmp_path / "whole", **options)
    whole.train()
    again = build("diffpo", max_steps=4, path=tmp_path / "parts", **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    kl = [entry["kl"] for entry in again.state.log_history if "kl" in entry]
    assert losses(again) == losses(whole) and kl[2] > 0
    for (name, p), q in zip(whole.ref_model.named_parameters(), again.ref_model.parameters()):
        assert torch.equal(p, q), name


def test_a_disk_that_does_not_sync_folders(build, tmp_path, monkeypatch):
    sync = os.fsync

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    build("diffpo", max_steps=1, **SAVING).train()
    assert checkpoints(tmp_path) == ["checkpoint-1"]


def test_an_earlier_checkpoint_is_there_until_the_new_one_is(tmp_path, monkeypatch):
    """Of the same step: wherever the process ends, one of them is in its place, or was a moment ago."""
    staged, place = tmp_path / UNFINISHED / "checkpoint-1", tmp_path / "checkpoint-1"
    for folder, text in ((staged, "new"), (place, "old")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    seen = []
    remove = module.shutil.rmtree
    monkeypatch.setattr(
        module.shutil, "rmtree", lambda path, **o: (seen.append((place / "file").read_text()), remove(path, **o))
    )
    module._publish(staged, place)
    assert seen == ["new"] and not staged.exists()
    module._publish(staged, place)  # another machine, which is late
    assert (place / "file").read_text() == "new"


def test_a_disk_that_is_full_when_files_reach_it(build, tmp_path, monkeypatch):
    """As network disks have it: writing succeeds, and the error comes when the data must be there."""
    build("diffpo", max_steps=1, **SAVING).train()
    trainer = build("diffpo", max_steps=2, **SAVING)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="checkpoint-2 was not written: .*No space left"):
        trainer.train(resume_from_checkpoint=True)
    assert checkpoints(tmp_path) == ["checkpoint-1"] and not (tmp_path / UNFINISHED).exists()


@pytest.mark.parametrize("method", ["dmpo", "agrpo", "joint"])
def test_what_a_rollout_left_is_all_kept(build, tmp_path, method):
    options = {"num_iterations": 2, "steps_per_generation": 2, "beta": 0.1, **SAVING}
    if method == "joint":
        options |= {"regime": "joint"}
    name = {"joint": "diffpo"}.get(method, method)
    whole = build(name, max_steps=3, path=tmp_path / "whole", **options)
    whole.train()
    build(name, max_steps=3, path=tmp_path / "parts", **options).train()
    second = build(name, max_steps=3, path=tmp_path / "parts", **options)
    seen = []
    second.rollout = lambda ids, rollout=second.rollout: seen.append(ids) or rollout(ids)
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-1"))
    assert not seen
    assert losses(second) == losses(whole)
    for (name, p), q in zip(whole.model.named_parameters(), second.model.parameters()):
        assert torch.equal(p, q), name
