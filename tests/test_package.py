# SPDX-License-Identifier: Apache-2.0
"""What a user installs."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import trl_diffusion


ROOT = Path(__file__).parent.parent


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_public_name_can_be_imported():
    for name in trl_diffusion.__all__:
        assert getattr(trl_diffusion, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        getattr(trl_diffusion, "Nonsense")  # noqa: B009


def test_importing_registers_the_models_and_does_not_load_trl():
    code = (
        "import sys, trl_diffusion; from transformers import AutoConfig;"
        "print(AutoConfig.for_model('llada').__class__.__name__, 'trl' in sys.modules)"
    )
    assert in_a_new_process(code).split() == ["LLaDAConfig", "False"]


def test_lower_rooms_do_not_know_trl():
    """Models, sampler and likelihood are usable, and readable, without TRL."""
    code = (
        "import sys, trl_diffusion.models, trl_diffusion.generation, trl_diffusion.likelihood;"
        "import trl_diffusion.tasks.sudoku, trl_diffusion.rewards;"
        "print('trl' in sys.modules, 'trl_diffusion.trainer' in sys.modules)"
    )
    assert in_a_new_process(code).split() == ["False", "False"]


def test_one_package_touches_trls_private_parts():
    private = ("_step", "_metrics", "_tokenizer", "_dist", "_buffered_inputs", "_generate", "_compute_loss", "_logs")
    for path in (ROOT / "trl_diffusion").rglob("*.py"):
        if path.parent.name == "trl_hooks":
            continue
        text = path.read_text()
        for name in private:
            assert f"self.{name}" not in text.replace(f"self.{name}_", ""), (path, name)
            assert f"def {name}(" not in text, (path, name)


@pytest.mark.slow
def test_wheel_and_sdist_are_complete(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    packaged = {p.relative_to(ROOT).as_posix() for p in (ROOT / "trl_diffusion").rglob("*") if p.is_file()}
    expected = {name for name in packaged if "__pycache__" not in name}
    assert expected >= {"trl_diffusion/py.typed", "trl_diffusion/embedded/sudoku/model.safetensors"}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())
    prefix = sdist.name.removesuffix(".tar.gz") + "/"
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(prefix) for name in archive.getnames()}
    assert expected | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names
    # Unpacked somewhere else, the wheel works on its own.
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    path = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r});"
    code = f"{path} from trl_diffusion import embedded; print(embedded.path('sudoku'))"
    assert in_a_new_process(code).startswith(str(tmp_path))


def test_embedded_checkpoints_are_small():
    size = sum(p.stat().st_size for p in (ROOT / "trl_diffusion" / "embedded").rglob("*") if p.is_file())
    assert size < 4_000_000


def test_every_paper_that_is_cited_is_in_the_index():
    index = (ROOT / "docs" / "paper_index.md").read_text()
    listed = re.findall(r"^\*\*📜 Paper\*\*: https://huggingface\.co/papers/([\d.]+)$", index, flags=re.MULTILINE)
    assert len(listed) == len(set(listed))
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "trl_diffusion").rglob("*.py")]
    for page in pages:
        for paper in re.findall(r"(?:huggingface\.co/papers|arxiv\.org/abs)/(\d{4}\.\d{4,5})", page.read_text()):
            assert paper in listed, f"{page.relative_to(ROOT)} cites {paper}"


def test_the_citation_is_that_of_this_version_and_of_the_methods_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == trl_diffusion.version.__version__
    papers = {}
    for name in ("DiffuGRPO", "DiFFPO", "DMPO", "AGRPO"):
        paper = getattr(trl_diffusion, f"{name}Trainer")._paper
        authors = re.search(r"author += \{(.*?)\}", paper["citation"], flags=re.DOTALL)[1]
        papers[paper["id"]] = [paper["title"].split(" (")[0], re.split(r"\s+and\s+", authors)]
    cited = {}
    for reference in citation["references"]:
        people = [f"{author['given-names']} {author['family-names']}" for author in reference["authors"]]
        cited[reference["url"].removeprefix("https://huggingface.co/papers/")] = [reference["title"], people]
    assert cited == papers
