# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the README and the docs runs, in order, as it is printed."""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from trl.trainer import grpo_trainer

import trl_diffusion
from trl_diffusion import DiffusionGenerationConfig, DiffusionGRPOConfig
from trl_diffusion.models import ThresholdHeadConfig

from .trainers import METHODS


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where its classes are found when they are pickled
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), vars(module))


def test_links_to_files_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_named_in_the_docs_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:trl_diffusion|examples|tests|docs)/[\w./]+\.\w+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_metrics_that_troubleshooting_speaks_of_exist():
    """Ours are recorded under these names, TRL's are in its trainer."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)[a-z_0-9*]+)`", text)) - {"models/a2d", "embedded/sudoku"}
    assert len(named) > 8
    sources = [path.read_text() for path in (ROOT / "trl_diffusion").rglob("*.py")]
    sources.append(inspect.getsource(grpo_trainer))
    for name in named:
        prefix = name.removesuffix("*")
        # Sections of the stopwatch are named where they begin.
        quoted = f'"{prefix.removeprefix("time/")}'
        assert any(quoted in source for source in sources), name


PACKAGES = [
    "evaluation",
    "generation",
    "likelihood",
    "models",
    "objectives",
    "rewards",
    "tasks",
    "trainer",
    "visualization",
]
CONFIGS = [
    DiffusionGRPOConfig,
    DiffusionGenerationConfig,
    ThresholdHeadConfig,
    *(config for config, _ in METHODS.values()),
]


def documented():
    """What the pages have from docstrings: `::: path.to.it`, of packages all that they export."""
    known = modules()
    for page in PAGES:
        for path in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE):
            try:
                module = importlib.import_module(path)
            except ModuleNotFoundError:
                parent, _, name = path.rpartition(".")
                yield getattr(importlib.import_module(parent), name)
            else:
                # A function that is called as its module is shows as the module.
                names = getattr(module, "__all__", ())
                yield from (getattr(module, name) for name in names if f"{path}.{name}" not in known)


def modules():
    root = Path(trl_diffusion.__file__).parent
    return {".".join(path.relative_to(root.parent).with_suffix("").parts) for path in root.rglob("*.py")}


def test_everything_public_is_in_the_reference():
    shown = list(documented())
    for package in (trl_diffusion, *(importlib.import_module(f"trl_diffusion.{name}") for name in PACKAGES)):
        for name in package.__all__:
            assert any(getattr(package, name) is thing for thing in shown), f"{package.__name__}.{name}"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_docstrings_tell_the_defaults(config):
    """The site's tables of options are made from both."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    told = re.findall(r"^ +(\w+) \(.*?defaults to `(.*)`\):$", config.__doc__, flags=re.MULTILINE)
    assert told
    for name, default in told:
        assert defaults[name] == ast.literal_eval(default), name


def test_pages_of_samplers_tell_the_defaults():
    defaults = {field.name: field.default for field in dataclasses.fields(DiffusionGenerationConfig)}
    for page in (ROOT / "docs" / "samplers").glob("*.md"):
        for name, default in re.findall(r"^\| `(\w+)` \| `(\S+)` \|", page.read_text(), flags=re.MULTILINE):
            assert defaults[name] == ast.literal_eval(default), f"{page.name}: {name}"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(method):
    config, trainer = METHODS[method]
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    assert f"::: trl_diffusion.{trainer.__name__}\n" in page and f"::: trl_diffusion.{config.__name__}\n" in page
    assert trainer._paper["id"] in page and "```math\n" in page
    assert f"(methods/{method}.md)" in (ROOT / "docs" / "methods.md").read_text()
