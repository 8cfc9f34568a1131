# SPDX-License-Identifier: Apache-2.0
from .countdown import countdown_reward
from .speed import with_speed_bonus
from .sudoku import sudoku_reward
from .time_limit import with_time_limit


__all__ = ["countdown_reward", "sudoku_reward", "with_speed_bonus", "with_time_limit"]
