# SPDX-License-Identifier: Apache-2.0
"""4x4 Sudoku: puzzle, verdict, completion."""

ONE = "123.3.1..1.34.2."  # solved by 1234 3412 2143 4321 alone
TWO = "1.3.3.1..1.34.2."  # and this one by 1432 3214 2143 4321 as well
FREE = "." * 16

CASES = [
    # ---- as asked
    (ONE, 1, "1234341221434321"),
    (ONE, 1, "<answer>1234341221434321</answer>"),
    (ONE, 1, "<answer>\n1234\n3412\n2143\n4321\n</answer>"),
    (
        ONE,
        1,
        "<reasoning>\nRow 1 lacks a 4, row 2 lacks 4 and 2.\n</reasoning>\n<answer>\n1234341221434321\n</answer>",
    ),
    (ONE, 1, r"Only one grid is left: \boxed{1234341221434321}"),
    (ONE, 1, r"The grid is $\boxed{1234 3412 2143 4321}$."),
    (TWO, 1, "<answer>1234341221434321</answer>"),
    (TWO, 1, "<answer>1432321421434321</answer>"),
    (FREE, 1, "<answer>1432321421434321</answer>"),
    # ---- drawn in many ways
    (ONE, 1, "1 2 3 4 3 4 1 2 2 1 4 3 4 3 2 1"),
    (ONE, 1, "<answer>1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1</answer>"),
    (ONE, 1, "<answer>1234 3412 2143 4321</answer>"),
    (ONE, 1, "<answer>1234|3412|2143|4321</answer>"),
    (ONE, 1, "<answer>1,2,3,4,3,4,1,2,2,1,4,3,4,3,2,1</answer>"),
    (ONE, 1, "<answer>12|34\n34|12\n--+--\n21|43\n43|21</answer>"),
    (ONE, 1, "<answer>\n| 1 | 2 | 3 | 4 |\n| 3 | 4 | 1 | 2 |\n| 2 | 1 | 4 | 3 |\n| 4 | 3 | 2 | 1 |\n</answer>"),
    (
        ONE,
        1,
        "<answer>\n+-----+-----+\n| 1 2 | 3 4 |\n| 3 4 | 1 2 |\n+-----+-----+\n"
        "| 2 1 | 4 3 |\n| 4 3 | 2 1 |\n+-----+-----+</answer>",
    ),
    (ONE, 1, "<answer>\n┌──┬──┐\n│12│34│\n│34│12│\n├──┼──┤\n│21│43│\n│43│21│\n└──┴──┘\n</answer>"),
    (ONE, 1, "<answer>[[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]</answer>"),
    (ONE, 1, "<answer>1 & 2 & 3 & 4 \\\\ 3 & 4 & 1 & 2 \\\\ 2 & 1 & 4 & 3 \\\\ 4 & 3 & 2 & 1</answer>"),
    (ONE, 1, "<answer>**1234341221434321**</answer>"),
    (ONE, 1, "<answer>`1234341221434321`</answer>"),
    (ONE, 1, "<answer>```\n1234\n3412\n2143\n4321\n```</answer>"),
    (ONE, 1, '<answer>"1234341221434321"</answer>'),
    (ONE, 1, "<answer>1234\r\n3412\r\n2143\r\n4321</answer>"),
    (ONE, 1, "<answer>Row 1: 1234\nRow 2: 3412\nRow 3: 2143\nRow 4: 4321</answer>"),
    (ONE, 1, "<answer>**Row 1:** 1 2 3 4\n**Row 2:** 3 4 1 2\n**Row 3:** 2 1 4 3\n**Row 4:** 4 3 2 1</answer>"),
    (ONE, 1, "<answer>1234/3412/2143/4321</answer>"),
    (ONE, 1, "<answer>Answer: 1234341221434321</answer>"),
    (ONE, 1, "The solution is:\n1234\n3412\n2143\n4321"),
    (ONE, 1, r"\boxed{\begin{array}{cc|cc}1&2&3&4\\3&4&1&2\\ \hline 2&1&4&3\\4&3&2&1\end{array}}"),
    (ONE, 1, r"\boxed{\begin{bmatrix}1&2&3&4\\3&4&1&2\\2&1&4&3\\4&3&2&1\end{bmatrix}}"),
    # ---- torn tags, leftovers
    (ONE, 1, "<answer>1234341221434321<|eot_id|><|endoftext|>"),
    (ONE, 1, "1234341221434321<|endoftext|>"),
    (ONE, 1, "<answer>1234341221434321"),
    (ONE, 1, "<answer>1234341221434321</ans"),
    (ONE, 1, "<answer>\n1234\n3412\n2143\n4321\n\nEvery row, column and box has four digits."),
    (ONE, 1, "<answer>1234341221434321</answer> Every row has 1, 2, 3 and 4."),
    (ONE, 1, "<answer>1234341221434321<answer>"),
    (ONE, 1, "<answer>1111111111111111</answer> No.\n<answer>1234341221434321</answer>"),
    (ONE, 0, "<answer>1234341221434321</answer> No.\n<answer>1111111111111111</answer>"),
    *[
        (ONE, 1, f"{answer}{rest}")
        for answer, rest in (
            *[
                ("<answer>1234341221434321</answer>", rest)
                for rest in ("\n<answer>", " Wait, <answer>", "<answer> </answer>")
            ],
            *[(r"\boxed{1234341221434321}", rest) for rest in (r". \boxed{", r"\boxed{}", r". \boxed")],
            ("<answer>\n1234\n3412\n2143\n4321\n\nEvery row has four digits.", "\n<answer>"),
        )
    ],
    (ONE, 0, "<answer>1234341221434321</answer> <answer>1234"),
    (ONE, 0, r"\boxed{1234341221434321}. \boxed{1234"),
    (ONE, 0, "<answer>12343412214343<|mdm_mask|><|mdm_mask|></answer>"),
    (ONE, 0, "<answer>1234341221434<|eot_id|>321</answer>"),
    (ONE, 0, "<answer></answer>"),
    (ONE, 0, "<reasoning>1234341221434321</reasoning>"),
    (ONE, 1, "The grid is 1234341221434321"),
    (ONE, 1, "<answer>The solution is 1234341221434321.</answer>"),
    (ONE, 0, "<answer>The solution cannot be 1234341221434321</answer>"),
    (ONE, 0, "<answer>The solution is not 1234341221434321</answer>"),
    (ONE, 0, "<answer>Cannot be: 1234341221434321</answer>"),
    (ONE, 1, "<answer>1234341221434321.</answer>"),
    (ONE, 0, "<answer>123434122143432.</answer>"),
    (ONE, 1, "<answer>```python\n[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]\n```</answer>"),
    (ONE, 1, "<answer>```plaintext\n1234\n3412\n2143\n4321\n```</answer>"),
    (ONE, 1, "<answer>|1|2|3|4|\n|:-:|:-:|:-:|:-:|\n|3|4|1|2|\n|2|1|4|3|\n|4|3|2|1|</answer>"),
    (ONE, 1, r"\boxed{\text{1234341221434321}}"),
    (ONE, 1, r"\boxed{\texttt{1234341221434321}}"),
    (ONE, 1, r"\boxed{1234\quad 3412\quad 2143\quad 4321}"),
    (ONE, 1, "<answer>1234<br>3412<br>2143<br>4321</answer>"),
    (ONE, 1, "<answer>R1: 1234\nR2: 3412\nR3: 2143\nR4: 4321</answer>"),
    (ONE, 1, "<answer>Row 1 = 1234\nRow 2 = 3412\nRow 3 = 2143\nRow 4 = 4321</answer>"),
    (ONE, 1, "<answer>1. 1234\n2. 3412\n3. 2143\n4. 4321</answer>"),
    (ONE, 0, "<answer>1. 1234\n3. 3412\n2. 2143\n4. 4321</answer>"),
    (ONE, 1, "<answer>╔══╦══╗\n║12║34║\n║34║12║\n╠══╬══╣\n║21║43║\n║43║21║\n╚══╩══╝</answer>"),
    (ONE, 1, "<answer>\n1234\n\n3412\n\n2143\n\n4321\n"),
    (ONE, 1, "<answer>\n1234\n\n3412\n\n2143\n\n4321\n\nThat is it."),
    (ONE, 0, "<answer>\n1234\n\n3412\n\n2143\n\nThe rest is 4321"),
    # ---- too short, too long, not filled
    (ONE, 0, "<answer>123434122143432</answer>"),
    (ONE, 0, "<answer>12343412214343211</answer>"),
    (ONE, 0, "<answer>12343412214343211234341221434321</answer>"),
    (ONE, 0, "<answer>1234\n3412\n2143</answer>"),
    (ONE, 0, "<answer>123.341221434321</answer>"),
    (ONE, 0, "<answer>123.3.1..1.34.2.</answer>"),
    (ONE, 0, "<answer>1230341221434321</answer>"),
    (ONE, 0, "<answer>123_341221434321</answer>"),
    (ONE, 0, ""),
    # ---- against the rules
    (ONE, 0, "<answer>1111222233334444</answer>"),
    (ONE, 0, "<answer>1234123412341234</answer>"),  # columns
    (ONE, 0, "<answer>1234234134124123</answer>"),  # boxes
    (ONE, 0, "<answer>1234341221434312</answer>"),  # the last two
    (ONE, 0, "<answer>1234341221434322</answer>"),
    (ONE, 0, "<answer>1235341221434321</answer>"),
    # ---- a valid grid of another puzzle
    (ONE, 0, "<answer>1432321421434321</answer>"),
    (ONE, 0, "<answer>4321214334121234</answer>"),
    (ONE, 0, "<answer>2134432112433412</answer>"),
    (TWO, 0, "<answer>4321214334121234</answer>"),
    # ---- digits that are none, or not alone
    (ONE, 0, "<answer>١٢٣٤٣٤١٢٢١٤٣٤٣٢١</answer>"),
    (ONE, 0, "<answer>①②③④③④①②②①④③④③②①</answer>"),
    (ONE, 0, "<answer>Row 2: 1234\nRow 1: 3412\nRow 3: 2143\nRow 4: 4321</answer>"),
    (ONE, 0, "<answer>Row 1: 1234\nRow 2: 3412\nRow 3: 2143</answer>"),
    (ONE, 0, "<answer>Row 1: 123\nRow 2: 43412\nRow 3: 2143\nRow 4: 4321</answer>"),
    (ONE, 0, "<answer>Row 1: 1234\nRow 2: 3412\nRow 3: 2143\nRow 4: 4312</answer>"),
    (ONE, 0, "<answer>Column 1: 1234\nColumn 2: 3412\nColumn 3: 2143\nColumn 4: 4321</answer>"),
    (ONE, 0, "<answer>Not: 1234341221434321</answer>"),
    (ONE, 0, "<answer>1234341221434321<|mdm_mask|></answer>"),
    (ONE, 0, "<answer>1234341221434321 or 1432321421434321</answer>"),
    (ONE, 0, "<answer>not 1234341221434321</answer>"),
    (ONE, 0, "<answer>4321 2143 3412 1234 read from below</answer>"),
    (ONE, 0, "<answer>I cannot solve this.</answer>"),
]
