# SPDX-License-Identifier: Apache-2.0
from .canvas import LiveCanvas, render_canvas
from .colours import colour_of
from .completions import print_completions
from .report import render_report


__all__ = ["LiveCanvas", "colour_of", "print_completions", "render_canvas", "render_report"]
