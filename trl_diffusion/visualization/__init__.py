# SPDX-License-Identifier: Apache-2.0
from .canvas import LiveCanvas, colour_of, render_canvas
from .report import render_report


__all__ = ["LiveCanvas", "colour_of", "render_canvas", "render_report"]
