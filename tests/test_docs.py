# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the README and the docs runs, in order, as it is printed."""

import inspect
import re
from pathlib import Path

import pytest
from trl.trainer import grpo_trainer


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)


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
