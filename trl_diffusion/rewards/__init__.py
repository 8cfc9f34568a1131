# SPDX-License-Identifier: Apache-2.0
from .countdown import countdown_numbers_reward, countdown_reward
from .formats import answer_format_reward, boxed_format_reward, reasoning_format_reward
from .gsm8k import gsm8k_reward
from .mathematics import math_reward
from .speed import with_speed_bonus
from .sudoku import sudoku_cells_reward, sudoku_reward
from .time_limit import with_time_limit


__all__ = [
    "answer_format_reward",
    "boxed_format_reward",
    "countdown_numbers_reward",
    "countdown_reward",
    "gsm8k_reward",
    "math_reward",
    "reasoning_format_reward",
    "sudoku_cells_reward",
    "sudoku_reward",
    "with_speed_bonus",
    "with_time_limit",
]
