# SPDX-License-Identifier: Apache-2.0
"""How the site reads formulas, links and docstrings. `make docs` builds all of it."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest


griffe = pytest.importorskip("griffe", reason="make docs installs it")
mkdocs = pytest.importorskip("mkdocs")

SITE = Path(__file__).parent.parent / "docs" / "_site"


def load(name):
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("formula", [r"\frac{1}{", r"\no_such_command{x}"])
def test_formulas_that_cannot_be_read_fail(formula):
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match="formula"):
        load("hooks").mathml(formula, "inline")


@pytest.mark.parametrize(
    "page, url, link, expected",
    [
        ("methods/dmpo.md", "", "[text](../models.md#here)", "[text](../models.md#here)"),
        ("methods/dmpo.md", "", "[text](../../examples/x.yaml)", "text"),
        (
            "methods/dmpo.md",
            "https://h/r",
            "[text](../../examples/x.yaml)",
            "[text](https://h/r/blob/main/examples/x.yaml)",
        ),
        ("contributing.md", "", "[text](docs/models.md)", "[text](models.md)"),
        ("cli.md", "", "[text](../examples/recipes/README.md#here)", "[text](recipes.md#here)"),
        ("methods/dmpo.md", "", "[text](../../examples/recipes/README.md)", "[text](../recipes.md)"),
        ("recipes.md", "", "[text](../../docs/methods/dmpo.md)", "[text](methods/dmpo.md)"),
        ("recipes.md", "https://h/r", "[text](dmpo)", "[text](https://h/r/blob/main/examples/recipes/dmpo)"),
        ("cli.md", "", "[text](https://example.org)", "[text](https://example.org)"),
    ],
)
def test_links_out_of_the_docs_lead_to_the_repository(page, url, link, expected):
    source = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert load("hooks").on_page_markdown(link, source, SimpleNamespace(repo_url=url), None) == expected


def test_docstrings_of_transformers_become_googles():
    code = '''
class Thing:
    """
    A thing, see [`~trl.GRPOConfig`] and [`Thing`].

    Args:
        > Parameters that control its size

        size (`int`, *optional*, defaults to `3`):
            Its size.
        ids (`torch.Tensor` of shape `(rows,)`, *optional*):
            Its ids.
    """

    def __init__(self, size: int = 3, ids=None):
        pass
'''
    extensions = griffe.load_extensions(load("docstrings").TransformersDocstrings)
    with griffe.temporary_visited_package("thing", {"__init__.py": code}, extensions=extensions) as package:
        text, parameters = package["Thing"].docstring.parse("google", warn_unknown_params=False)
    assert text.value == "A thing, see `GRPOConfig` and `Thing`."
    assert parameters.title == "Parameters that control its size"
    assert [parameter.name for parameter in parameters.value] == ["size", "ids"]
    assert parameters.value[1].description == "*Shape `(rows,)`.*\nIts ids."
