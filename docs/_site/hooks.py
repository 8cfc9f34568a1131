# SPDX-License-Identifier: Apache-2.0
"""
What the site does with the Markdown files, which GitHub shows as they are.

- Formulas become MathML when the site is built: pages need no script and no network, and a formula that cannot be read
  fails the build.
- Links that lead out of `docs/` lead to the repository (`REPO_URL`), or nowhere: their text stays.
- The changelog, the notes for contributors and the list of recipes, which lie elsewhere, are pages, too.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File


ROOT = Path(__file__).parents[2]
FROM_ELSEWHERE = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "recipes.md": "examples/recipes/README.md",
}
PAGE_OF = {source: page for page, source in FROM_ELSEWHERE.items()}
LINK = re.compile(r"(?<!!)\[([^\]\[]*(?:\[[^\]]*\])?[^\]\[]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?\)")
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_config(config):
    fence = {"name": "math", "class": "math", "format": math_block}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files, config):
    for page, source in FROM_ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    folder = posixpath.dirname(page.file.src_uri)
    here = posixpath.dirname(FROM_ELSEWHERE.get(page.file.src_uri, posixpath.join("docs", page.file.src_uri)))

    def lead(match: re.Match) -> str:
        text, target, anchor = match[1], posixpath.normpath(posixpath.join(here, match[2])), match[3] or ""
        inside = PAGE_OF.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside:
            return f"[{text}]({posixpath.relpath(inside, folder or '.')}{anchor})"
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{target}{anchor})" if config.repo_url else text

    return LINK.sub(lead, markdown)


def on_page_content(html_text, page, config, files):
    return INLINE.sub(lambda match: mathml(html.unescape(match[1]), "inline"), html_text)


def math_block(source, language, css_class, options, md, **kwargs):
    """Fenced blocks called `math`, for superfences."""
    return f'<div class="math">{mathml(source, "block")}</div>'


def mathml(source: str, display: str) -> str:
    try:
        result = convert(source, display=display)
    except Exception as error:
        raise PluginError(f"Cannot read the formula {source!r}: {error!r}") from error
    unknown = re.search(r"<m\w+>(\\\w+)", result)
    if unknown:
        raise PluginError(f"Unknown command {unknown[1]} in the formula {source!r}.")
    return re.sub(r"(<m[io]>(?:log|exp)</m[io]>)(?=<m(?:i|sub|sup|frac)>)", r'\1<mspace width="0.17em" />', result)
