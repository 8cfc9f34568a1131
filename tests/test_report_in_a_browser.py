# SPDX-License-Identifier: Apache-2.0
"""The page of a run in a real browser, from a file: what its script shows, and a picture of it."""

import re
import shutil
import subprocess
from html import unescape
from urllib.parse import quote

import numpy as np
import pytest
from matplotlib.image import imread
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import embedded
from trl_diffusion.evaluation import generate
from trl_diffusion.tasks import sudoku
from trl_diffusion.visualization.report import render_report


BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


def browse(page, *options):
    """What Chromium prints. `--no-sandbox` is for containers, where it may not be root with one."""
    address = f"file://{quote(str(page))}"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2000", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed.")
def test_the_page_opens_from_a_file(tmp_path):
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    made = generate(model, tokenizer, sudoku.make_dataset("test", 2))
    history = [{"step": step, "reward": 0.1 * step, "sampler/nfe": 9 - step} for step in range(1, 5)]
    page = tmp_path / "a report.html"
    page.write_text(render_report("a run", log_history=history, samples={"one": made}, tokenizer=tokenizer))
    shown = browse(page, "--dump-dom")
    answer = re.search(r'<div class="answer">.*?<pre[^>]*>(.*?)</pre>', shown, flags=re.DOTALL)[1]
    written = unescape(re.sub(r"<[^>]+>", "", answer))
    assert written.rstrip("■") == made.samples[0].text.rstrip()  # by the script, at the last pass
    assert f'max="{made.samples[0].nfe}"' in shown and f"after {made.samples[0].nfe} of" in shown
    browse(page, f"--screenshot={tmp_path / 'page.png'}")
    picture = imread(tmp_path / "page.png")[..., :3]
    assert picture.shape[:2] == (2000, 1200)
    colours = np.unique((picture.reshape(-1, 3) * 255).astype(int), axis=0)
    assert len(colours) > 50  # curves, and the colours of passes
