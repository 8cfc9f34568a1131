# SPDX-License-Identifier: Apache-2.0
from .countdown import countdown_reward
from .sudoku import sudoku_reward


__all__ = ["countdown_reward", "sudoku_reward"]
