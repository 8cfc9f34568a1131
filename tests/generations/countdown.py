# SPDX-License-Identifier: Apache-2.0
"""Countdown: numbers, target, verdict, completion. An expression counts by what it is, not what is claimed of it."""

A = ([49, 55, 53], 51)  # 49 + 55 - 53
B = ([3, 4, 5], 17)  # 3 * 4 + 5
C = ([25, 4, 10, 6], 84)  # 25 * 4 - 10 - 6
D = ([8, 3, 3, 8], 24)  # 8 / (3 - 8 / 3)

CASES = [
    # ---- as asked
    (*A, 1, "<reasoning>55 - 53 = 2, and 49 + 2 = 51.</reasoning>\n<answer>\n49 + 55 - 53\n</answer>"),
    (*A, 1, "<answer>49+55-53</answer>"),
    (*A, 1, "<answer>(49 + 55) - 53</answer>"),
    (*A, 1, "<answer>49 - (53 - 55)</answer>"),
    (*A, 1, r"$\boxed{49 + 55 - 53}$"),
    (*A, 1, "49+55-53"),
    (*B, 1, "<answer>5 + 3*4</answer>"),
    (*C, 1, "<answer>25 * 4 - 10 - 6</answer>"),
    (*C, 1, "<answer>(25*4) - (10+6)</answer>"),
    (*D, 1, "<answer>8 / (3 - 8 / 3)</answer>"),
    # ---- an equation inside the tag
    (*A, 1, "<answer>49 + 55 - 53 = 51</answer>"),
    (*A, 1, "<answer>51 = 49 + 55 - 53</answer>"),
    (*A, 1, r"\boxed{49 + 55 - 53 = 51}"),
    (*A, 1, "<answer>49 + 55 - 53 = 50</answer>"),
    (*A, 0, "<answer>49 + 55 = 51</answer>"),
    (*A, 0, "<answer>49 + 55 - 54 = 51</answer>"),
    (*A, 0, "<answer>= 51</answer>"),
    (*A, 0, "<answer>51</answer>"),
    (*A, 0, "<answer>51 = 51</answer>"),
    (*A, 0, "<answer>55 - 53 = 2, 49 + 2 = 51</answer>"),
    (*A, 0, "<answer>55 - 53 = 2\n49 + 2 = 51</answer>"),
    (*A, 0, "<answer>49 + 55 = 104 - 53 = 51</answer>"),  # no equation, and only two numbers on its left
    # ---- signs of other kinds
    (*B, 1, "<answer>3 × 4 + 5</answer>"),
    (*B, 1, "<answer>3 · 4 + 5</answer>"),
    (*B, 1, r"\boxed{3 \times 4 + 5}"),
    (*B, 1, r"<answer>$3 \cdot 4 + 5$</answer>"),
    (*B, 1, r"\boxed{\left(3 \times 4\right) + 5 = 17}"),
    (*B, 1, "<answer>[3 * 4] + 5</answer>"),
    (*B, 1, "<answer>**3*4+5**</answer>"),
    (*B, 1, "<answer>`3*4+5`</answer>"),
    (*B, 1, "<answer>3*4+5.</answer>"),
    (*C, 1, "<answer>25 * 4 − 10 − 6</answer>"),
    (*D, 1, "<answer>8 ÷ (3 − 8 ÷ 3)</answer>"),
    # ---- torn tags, leftovers
    (*A, 1, "<answer>49+55-53<|eot_id|><|endoftext|>"),
    (*A, 1, "<answer>49+55-53</answer><|endoftext|>"),
    (*A, 1, "<answer>49+55-53"),
    (*A, 1, "<answer>49+55-53</answ"),
    (*A, 1, "<answer>49+55-53\n\nThis uses every number once."),
    (*A, 1, "<answer>49+55-53</answer> This uses every number once: 49, 55 and 53."),
    (*A, 1, "<answer>49+53-55</answer> gives 47.\n<answer>49+55-53</answer>"),
    (*A, 0, "<answer>49+55-53</answer> gives 51.\n<answer>49+53-55</answer>"),
    (*A, 0, "<answer>49+<|mdm_mask|>-53</answer>"),
    (*B, 0, "<answer>3*4+5<|mdm_mask|>5</answer>"),
    (*A, 0, "<answer></answer>"),
    (*A, 0, "<reasoning>49 + 55 - 53 = 51</reasoning>"),
    (*A, 0, "49 + 55 - 53 is what we need, I think"),
    # ---- numbers that are not given, or not all, or twice
    (*B, 0, "<answer>3 * 4 + 4 + 1</answer>"),
    (*B, 0, "<answer>12 + 5</answer>"),
    (*B, 0, "<answer>17</answer>"),
    (*B, 0, "<answer>3 * 4</answer>"),
    (*B, 0, "<answer>3 * 4 + 5 * 1</answer>"),
    (*B, 0, "<answer>3 * 4 + 5 + 0</answer>"),
    (*B, 0, "<answer>34 / 2</answer>"),
    (*B, 0, "<answer>3 + 4 + 5</answer>"),
    (*B, 0, "<answer>3 * 4 + 5 + 5 - 5</answer>"),
    (*D, 0, "<answer>8 * 3</answer>"),
    (*D, 0, "<answer>8 * 3 + 8 - 3</answer>"),
    (*C, 0, "<answer>25 * 4 - 16</answer>"),
    # ---- what is no arithmetic of the game
    (*B, 0, "<answer>3 ** 4 + 5</answer>"),
    (*B, 0, "<answer>3 ^ 4 + 5</answer>"),
    (*B, 0, "<answer>-3 * -4 + 5</answer>"),
    (*B, 0, "<answer>3 // 4 + 5</answer>"),
    (*B, 0, "<answer>3!*4+5</answer>"),
    (*B, 0, "<answer>3 * 4 + 5 apples</answer>"),
    (*B, 0, "<answer>3 * (4 + 5</answer>"),
    (*B, 0, "<answer>3 * 4 + 5)</answer>"),
    (*B, 0, "<answer>3 4 5</answer>"),
    (*B, 0, "<answer>three times four plus five</answer>"),
    (*B, 0, "<answer>eval('3*4+5')</answer>"),
    (*B, 0, "<answer>3*4+5; 3*4+5</answer>"),
    (*B, 0, "<answer>3*4+5 or 5+3*4</answer>"),
    (*B, 0, "<answer>17 = 3*4</answer>"),
    (*D, 0, "<answer>8 / (3 - 3) + 8</answer>"),
]
