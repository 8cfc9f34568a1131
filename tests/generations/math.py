# SPDX-License-Identifier: Apache-2.0
r"""Mathematics with answers of all kinds: reference, verdict, completion."""


def boxed(answer):
    return f"Hence the answer is $\\boxed{{{answer}}}$."


CASES = [
    # ---- numbers
    ("42", 1, boxed("42")),
    ("42", 1, "<reasoning>…</reasoning><answer>42</answer>"),
    ("42", 1, "<answer>$42$</answer>"),
    ("42", 1, r"<answer>\[ 42 \]</answer>"),
    ("42", 1, r"<answer>\boxed{42}</answer><|eot_id|>"),
    ("42", 0, boxed("43")),
    ("42", 0, "We get 42 in the end."),
    ("1000", 1, boxed("1,000")),
    ("1{,}000", 1, boxed("1000")),
    ("1,\\!000,\\!000", 1, boxed(r"1{,}000{,}000")),
    ("10,000", 1, boxed("x = 10,000")),
    (".5", 1, boxed(r"\frac12")),
    ("12", 0, boxed("12.5")),
    ("-7", 1, boxed("-7")),
    ("-7", 0, boxed("7")),
    ("0", 1, boxed("0")),
    ("3", 1, boxed("x=3")),
    ("x=3", 1, boxed("3")),
    ("x=3", 0, boxed("y=3")),
    ("3", 1, boxed(r"f(2) = 3")),
    ("3", 0, boxed("x = 3 + 1")),
    ("7", 0, boxed("2x+1 = 7")),
    ("3", 0, boxed(r"\sqrt{x} = 3")),
    ("3", 0, boxed(r"x \ne 3")),
    ("3", 0, boxed("x > 3")),
    ("3", 0, boxed(r"\text{not } 3")),
    ("1024", 0, boxed("2^{10}")),  # to compute it was the task
    ("1024", 1, boxed("2^{10} = 1024")),
    ("120", 0, boxed("5!")),
    ("2^{10}", 1, boxed("1024")),
    ("2^{98}", 1, boxed("2^{98}")),
    ("2^{98}", 0, boxed("2^{97}")),
    ("5", 0, boxed("5!.")),
    ("5", 0, boxed("$5!$.")),
    ("120", 1, boxed("5! = 120")),
    ("1024", 1, boxed("1024 = 2^{10}")),
    ("3", 0, boxed("2 = 3")),
    # ---- fractions
    (r"\frac{1}{2}", 1, boxed(r"\dfrac{1}{2}")),
    (r"\frac{1}{2}", 1, boxed(r"\tfrac12")),
    (r"\frac{1}{2}", 1, boxed(r"\frac1{2}")),
    (r"\frac{1}{2}", 1, boxed("1/2")),
    (r"\frac{1}{2}", 1, boxed("0.5")),
    (r"\frac{1}{2}", 1, boxed(r"\frac{2}{4}")),
    (r"\frac{1}{2}", 1, boxed(r"\frac{1}{2")),  # one brace short
    (r"\frac{1}{2}", 1, boxed(r"50\%")),
    (r"\frac{1}{2}", 0, boxed(r"\frac{2}{1}")),
    (r"\frac{1}{2}", 0, boxed("12")),
    (r"\frac{1}{2}", 0, boxed(r"\sin 30^\circ")),
    (r"-\frac{3}{4}", 1, boxed(r"\frac{-3}{4}")),
    (r"-\frac{3}{4}", 1, boxed("-0.75")),
    (r"-\frac{3}{4}", 0, boxed(r"\frac{3}{4}")),
    (r"\frac{1}{3}", 0, boxed("0.33")),
    (r"\frac{1}{3}", 0, boxed("0.333333")),
    (r"\frac{7}{2}", 1, boxed(r"3\frac{1}{2}")),
    (r"3\frac{1}{2}", 1, boxed(r"\frac{7}{2}")),
    (r"1\frac{1}{2}", 0, boxed(r"\frac{1}{2}")),  # no product
    (r"\frac{3}{4}", 1, boxed("6/8")),
    ("72", 0, boxed("144/2")),  # nor is this computed
    ("-3", 0, boxed(r"-\frac{6}{2}")),
    ("(3,2)", 0, boxed(r"\left(\frac{6}{2}, 2\right)")),
    (r"0.\overline{3}", 1, boxed(r"0.\overline{3}")),
    (r"0.\overline{3}", 1, boxed(r"\frac{1}{3}")),
    (r"0.\overline{3}", 0, boxed("0.333")),
    (r"0.1\overline{23}", 1, boxed(r"\frac{61}{495}")),
    (r"0.1\overline{23}", 0, boxed(r"0.\overline{123}")),
    (r"\frac{1}{3}", 1, boxed(r"0.\overline{3}")),
    # ---- percent, degrees, money, units
    (r"50\%", 1, boxed("50")),
    (r"50\%", 1, boxed(r"50\%")),
    (r"50\%", 0, boxed("0.5")),
    ("50", 1, boxed(r"50\%")),
    ("0.5", 0, boxed(r"0.5\%")),
    (r"90^\circ", 1, boxed("90")),
    ("90", 1, boxed(r"90^{\circ}")),
    ("90", 1, boxed(r"90 \text{ degrees}")),
    ("90", 0, boxed(r"\frac{\pi}{2}")),
    (r"\$32,\!348", 1, boxed(r"\$32,348")),
    (r"5.4 \text{ cents}", 1, boxed("5.4")),
    (r"15\mbox{ cm}^2", 1, boxed("15")),
    (r"15\mbox{ cm}^2", 1, boxed(r"15 \text{ square centimeters}")),
    (r"15\text{ cm}", 0, boxed(r"15\text{ m}")),
    (r"5\text{ cm}", 1, boxed("5 cm")),
    (r"12\pi\text{ cm}^2", 1, boxed(r"12\pi")),
    ("12", 1, boxed(r"\text{12 square units}")),
    ("12", 0, boxed(r"\text{12 thousand}")),
    (r"12\pi", 0, boxed(r"12\pi\text{ thousand}")),
    (r"12\pi", 0, boxed(r"12\pi\text{!}")),
    *[(r"30^\circ", 0, boxed(answer)) for answer in (r"30\%", r"30\text{ rad}", r"30\text{ radians}")],
    *[(r"10\%", 0, boxed(answer)) for answer in (r"10^\circ", r"10\text{ dollars}", r"\$10")],
    *[(r"\$5", 0, boxed(answer)) for answer in (r"5\%", r"5\text{ cents}", r"5^\circ", r"\$5\text{ M}")],
    *[(r"\$5", 1, boxed(answer)) for answer in ("5", r"\$5.00", r"5\text{ dollars}", r"5\$", r"\$5\text{ each}")],
    (r"12\text{ apples}", 1, boxed(r"12\text{ fruits}")),  # nouns are not compared
    (r"2", 0, boxed(r"200\%")),  # two percent may have been asked for
    # ---- references written in unusual ways
    *[
        (r"11,\! 111,\! 111,\! 100", 1, boxed(answer))
        for answer in ("11111111100", "11,111,111,100", "11{,}111{,}111{,}100", r"11,\!111,\!111,\!100")
    ],
    (r"11,\! 111,\! 111,\! 100", 0, boxed("111,11,100,111")),
    (r"\frac{270}7\text{ degrees}", 1, boxed(r"\frac{270}{7}")),
    (r"\frac{270}7\text{ degrees}", 1, boxed(r"38\frac{4}{7}^\circ")),
    (".0000672", 1, boxed("0.0000672")),
    (r"\{1\pm\sqrt{5},-2\}", 1, boxed(r"-2, 1+\sqrt{5}, 1-\sqrt{5}")),
    (r"\{1\pm\sqrt{5},-2\}", 0, boxed(r"1+\sqrt{5}, -2")),
    (r"864 \mbox{ inches}^2", 1, boxed(r"864\text{ in}^2")),
    (r"1 \text{ and } -5", 1, boxed("-5, 1")),
    # ---- roots, powers, pi
    (r"2\sqrt{2}", 1, boxed(r"\sqrt{8}")),
    (r"2\sqrt{2}", 1, boxed(r"2 \sqrt 2")),
    (r"2\sqrt{2}", 1, boxed("2√2")),
    (r"2\sqrt{2}", 0, boxed(r"\sqrt{2}")),
    (r"\sqrt{2}", 0, boxed("1.414214")),
    (r"\sqrt{2}", 1, boxed(r"\sqrt{2} \approx 1.414")),
    (r"\frac{\sqrt{3}}{3}", 1, boxed(r"\frac{1}{\sqrt{3}}")),
    (r"\frac{\sqrt{3}}{2}", 0, boxed(r"\sin 60")),
    (r"\frac{\pi}{6}", 1, boxed(r"\pi/6")),
    (r"3\pi", 0, boxed("9.42")),
    (r"3\pi", 0, boxed("3")),
    (r"5+3i", 1, boxed("3i + 5")),
    (r"5+3i", 0, boxed("5-3i")),
    # ---- expressions and equations
    ("x^2+2x+1", 1, boxed("(x+1)^2")),
    ("x^2+2x+1", 0, boxed("(x-1)^2")),
    ("x^2+2x+1", 0, boxed("t^2+2t+1")),
    ("2x+3", 1, boxed("y = 2x + 3")),
    ("y = 2x + 3", 1, boxed("2x+3")),
    ("y = 2x + 3", 1, boxed("3 + 2x")),
    ("y = 2x + 3", 0, boxed("y = 2x - 3")),
    ("x > 3", 1, boxed("3 < x")),
    ("x > 3", 0, boxed(r"x \ge 3")),
    ("x > 3", 0, boxed("x < 3")),
    ("x^2+7x+10", 1, boxed("(x+2)(x+5)")),  # who wants it expanded has to see to it
    (r"11\sqrt{2}", 1, boxed(r"\sqrt{242}")),
    *[("x+1", 0, boxed(answer)) for answer in ("5 = x+1", "y = 3 = x+1", "3 + 2 = x+1")],
    ("2n", 0, boxed("24 = 2n")),
    ("x^2+1", 0, boxed("0 = x^2+1")),
    (r"\frac{1}{x}", 0, boxed(r"2 = \frac1x")),
    ("(1,2)", 0, boxed("3 = (1,2)")),
    ("x^2+y^2=4", 1, boxed("4 = x^2+y^2")),
    ("x=5", 1, boxed("5=x")),
    ("x=5", 0, boxed("6=x")),
    ("x=5", 0, boxed("5=2x")),
    ("5", 0, boxed("5=2x")),
    (r"90^\circ", 1, boxed(r"180 - 90 = 90^\circ")),
    # ---- lists and sets
    ("1,2", 1, boxed("2, 1")),
    ("1,2", 1, boxed(r"\{1, 2\}")),
    ("1,2", 1, boxed(r"x = 1 \text{ or } x = 2")),
    ("1,2", 1, boxed("1 and 2")),
    ("1,2", 0, boxed("1")),
    ("1,2", 0, boxed("1, 2, 3")),
    ("1", 0, boxed("1, 2")),
    ("1", 0, boxed("1 or 2")),
    ("12", 0, boxed("1, 2")),
    ("1,2", 0, boxed("(1,2)")),
    ("-1,1", 1, boxed(r"\pm 1")),
    (r"1+\sqrt{2},1-\sqrt{2}", 1, boxed(r"1 \pm \sqrt{2}")),
    (r"1 \pm \sqrt{2}", 0, boxed(r"1+\sqrt{2}")),
    # ---- pairs, intervals, vectors
    ("(1,2)", 1, boxed(r"\left(1, 2\right)")),
    ("(1,2)", 1, boxed("(x,y) = (1,2)")),
    ("(1,2)", 0, boxed("(2,1)")),
    ("(1,2)", 0, boxed("[1,2]")),
    ("(1,2]", 0, boxed("(1,2)")),
    ("(1,2)", 0, boxed("1,2")),
    (r"\left( 3, \frac{\pi}{2} \right)", 1, boxed(r"(3, \pi/2)")),
    (r"(-\infty, 3]", 1, boxed(r"x \in (-\infty,3]")),
    (r"(-\infty,-1)\cup(1,\infty)", 1, boxed(r"(1,\infty) \cup (-\infty,-1)")),
    (r"(-\infty,-1)\cup(1,\infty)", 0, boxed(r"(-\infty,-1]\cup[1,\infty)")),
    ("[-2,7]", 1, boxed(r"-2 \le x \le 7")),
    ("[-2,7]", 1, boxed(r"7 \geq x \geq -2")),
    ("[-2,7]", 0, boxed(r"-2 < x \le 7")),
    ("[-2,7]", 0, boxed(r"-2 \le x \le 8")),
    ("[-2,7]", 0, boxed(r"-2 \le 2x \le 7")),
    ("[-2,7]", 0, boxed(r"-2 \le x \ge 7")),
    (r"x \in (-2,7)", 1, boxed("-2 < x < 7")),
    (r"x \in (-2,7)", 0, boxed("-2 < y < 7")),
    ("(1,2)", 0, boxed("1 < x < 2")),  # a point, perhaps
    (r"(-\infty,3]", 1, boxed(r"x \le 3")),
    (r"(-\infty,3]", 0, boxed(r"x \ge 3")),
    (r"(-\infty,3]", 0, boxed("x < 3")),
    ("1 < x < 3", 1, boxed("(1,3)")),
    ("1 < x < 3", 0, boxed("[1,3]")),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", 1, boxed(r"\begin{bmatrix}1\\-2\end{bmatrix}")),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", 0, boxed(r"\begin{pmatrix}-2\\1\end{pmatrix}")),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", 0, boxed(r"\begin{pmatrix}1&3\\2&4\end{pmatrix}")),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", 0, boxed(r"\begin{vmatrix}1&2\\3&4\end{vmatrix}")),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", 0, boxed(r"\begin{Vmatrix}1&2\\3&4\end{Vmatrix}")),
    # ---- words and letters
    *[(letter, 0, boxed(answer)) for letter, answer in (("a", "(A)"), ("p", "(P)"), ("C", r"\text{(c)}"))],
    *[(r"\text{(C)}", 1, boxed(answer)) for answer in ("c", "(c)", "C")],
    ("C", 1, boxed(r"\text{(C)}")),
    (r"\text{Monday}", 1, boxed("Monday")),
    (r"\text{Monday}", 1, boxed(r"\text{monday}")),
    (r"\text{Monday}", 1, boxed(r"\textbf{Monday}")),
    (r"\text{Monday}", 0, boxed(r"\text{Monday or Tuesday}")),
    (r"\text{Monday}", 0, boxed(r"\text{Sunday}")),
    (r"\text{(A)}", 1, boxed("A")),
    (r"\text{(A)}", 1, boxed("(A)")),
    (r"\text{(A)}", 0, boxed("B")),
    (r"\text{even}", 1, "<answer>even</answer>"),
    # ---- the same in other signs
    ("y = 2x+3", 1, boxed("2x - y = -3")),
    ("y = 2x+3", 1, boxed("2x - y + 3 = 0")),
    ("y = -2x", 1, boxed("2x+y=0")),
    *[("y = 2x+3", 0, boxed(answer)) for answer in ("2x - y = 3", "x = 2y+3", "y = y", "y - y = x - x", "0 = 0")],
    ("y = 2x+3", 0, boxed("(y-2x-3)^2 = 0")),
    ("2516_8", 1, boxed("(2516)_8")),
    ("2516_8", 0, boxed("(2516)_9")),
    ("(4,0)", 1, boxed(r"\langle 4,0\rangle")),
    ("(4,0)", 0, boxed(r"\langle 0,4\rangle")),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", 1, boxed(r"\begin{bmatrix}1\\[2pt]-2\end{bmatrix}")),
    (r"\begin{pmatrix} 1 \\ -2 \end{pmatrix}", 1, boxed(r"\mathbf{A} = \begin{pmatrix}1\\-2\end{pmatrix}")),
    ("[-2,7]", 1, boxed(r"-2 \leqslant x \leqslant 7")),
    ("1,2", 1, boxed(r"\lbrace 1,2 \rbrace")),
    (r"\frac{x+2}{7}", 1, boxed(r"f^{-1}(x) = \frac{x+2}{7}")),
    ("3", 0, boxed("x^{-1} = 3")),
    (r"90^\circ", 1, boxed(r"m\angle ABC = 90^\circ")),
    (r"90^\circ", 1, boxed(r"90\text{°}")),
    (r"3\sqrt{13}", 1, boxed("3√13")),
    (r"3\sqrt{13}", 0, boxed("3√12")),
    (r"1 \pm \sqrt{19}", 1, boxed("1±√19")),
    ("1,-2", 1, r"The solutions are $\boxed{1}$ and $\boxed{-2}$."),
    ("-2", 0, r"The solutions are $\boxed{1}$ and $\boxed{-2}$."),
    ("1,-2", 0, r"The solution is $\boxed{1}$, and never $\boxed{-2}$."),
    # ---- one answer in another notation, and its near misses
    *[("(2,-1)", 1, boxed(answer)) for answer in ("x = 2, y = -1", r"x=2 \text{ and } y=-1", "y = -1, x = 2")],
    *[("(2,-1)", 0, boxed(answer)) for answer in ("x = -1, y = 2", "x = 2 or y = -1", "x = 2, x = -1", "x = 2, -1")],
    *[
        ("(2,-1)", 0, boxed(answer))
        for answer in ("m = 2, b = -1", "x = 2, y = -1, z = 0", "x = 2, y > -1", "x_1 = 2, y = -1")
    ],
    ("[2,3]", 0, boxed("x = 2, y = 3")),
    ("x = 2, y = -1", 1, boxed("(2,-1)")),
    ("x = 2, y = -1", 0, boxed("(-1,2)")),
    (r"\left( 3, \frac{\pi}{2} \right)", 1, boxed(r"r = 3, \theta = \frac{\pi}{2}")),
    (r"\left( 3, \frac{\pi}{2} \right)", 0, boxed(r"\theta = 3, r = \frac{\pi}{2}")),
    *[
        (r"(-\infty,0)\cup(1,\infty)", 1, boxed(answer))
        for answer in (
            "x<0 or x>1",
            r"x > 1 \text{ or } x < 0",
            r"(-\infty,0) \text{ or } (1,\infty)",
            "(-∞, 0) U (1, inf)",
        )
    ],
    *[
        (r"(-\infty,0)\cup(1,\infty)", 0, boxed(answer))
        for answer in (
            "x<0 and x>1",
            r"x \le 0 or x>1",
            "x<0 or y>1",
            "x<1 or x>0",
            "x<0",
            "x<0, x>1",
            "x>0 or x<1",
            "0<x<1",
        )
    ],
    (r"[-1,0)\cup(0,1]", 1, boxed(r"-1 \le x < 0 \text{ or } 0 < x \le 1")),
    (r"[-1,0)\cup(0,1]", 0, boxed(r"-1 \le x < 0 \text{ or } 0 \le x \le 1")),
    ("x<0 or x>1", 1, boxed(r"(-\infty,0)\cup(1,\infty)")),
    ("x<0 or x>1", 0, boxed("y<0 or y>1")),
    *[("(2,5]", 1, boxed(answer)) for answer in (r"x > 2 \text{ and } x \le 5", r"\{x \mid 2 < x \le 5\}")],
    *[
        ("(2,5]", 0, boxed(answer))
        for answer in (r"x > 2 or x \le 5", r"x > 5 and x \le 2", "x > 2 and y <= 5", "x > 2")
    ],
    ("(2,5]", 0, boxed(r"\{x \mid 2 < x \le 5, x \in \mathbb{Z}\}")),
    *[
        (r"(-\infty,2)\cup(2,\infty)", 1, boxed(answer))
        for answer in (r"x \neq 2", "x ≠ 2", r"\mathbb{R} \setminus \{2\}")
    ],
    *[(r"(-\infty,2)\cup(2,\infty)", 0, boxed(answer)) for answer in (r"x \neq 3", "2", r"x \ne 2y", r"\mathbb{R}")],
    (r"(-\infty,2]\cup[2,\infty)", 0, boxed(r"x \neq 2")),
    # ---- all numbers, and none
    *[
        (gold, 1, boxed(answer))
        for gold in (r"(-\infty,\infty)", r"\mathbb{R}", r"\text{all real numbers}", r"-\infty < x < \infty")
        for answer in (
            *(
                r"\mathbb{R}",
                r"x \in \mathbb R",
                "ℝ",
                r"\text{All real numbers}",
                "all real numbers",
                r"(-\infty, \infty)",
            ),
            r"\left(-\infty, \infty\right)",
        )
    ],
    *[
        (gold, 0, boxed(answer))
        for gold in (r"(-\infty,\infty)", r"\mathbb{R}", r"\text{all real numbers}")
        for answer in (
            *(
                r"\mathbb{Z}",
                r"\mathbb{R}^2",
                "R",
                r"[0,\infty)",
                r"\text{all integers}",
                r"\text{not all real numbers}",
                r"\emptyset",
            ),
            *(r"\mathbb{R} \setminus \{0\}", r"\text{all positive real numbers}", "x", r"\text{no solution}"),
        )
    ],
    *[
        (gold, 1, boxed(answer))
        for gold in (r"\text{no solution}", r"\emptyset", r"\{\}", r"\varnothing")
        for answer in (
            r"\text{no solution}",
            "no solutions",
            r"\emptyset",
            r"\varnothing",
            r"\{\}",
            r"\{ \}",
            "∅",
            "No solution",
        )
    ],
    *[
        (gold, 0, boxed(answer))
        for gold in (r"\text{no solution}", r"\emptyset")
        for answer in (
            "0",
            r"\{0\}",
            r"\{\emptyset, 1\}",
            r"\mathbb{R}",
            r"\text{one solution}",
            "",
            r"\text{solution}",
        )
    ],
    ("0", 0, boxed(r"\text{no solution}")),
    ("1,2", 1, boxed(r"1\text{, }2")),
    ("12", 0, boxed(r"1\text{, }2")),
    # ---- plain text
    *[(r"3\sqrt{13}", 1, boxed(answer)) for answer in ("3*sqrt(13)", "3sqrt(13)", "3 * √(13)")],
    *[
        (r"3\sqrt{13}", 0, boxed(answer))
        for answer in ("3*sqrt(12)", "sqrt(3*13)", "3+sqrt(13)", "sqrt(13)", "3*sqrt(13")
    ],
    (r"\sqrt{2+\sqrt{3}}", 1, boxed("sqrt(2+sqrt(3))")),
    (r"\sqrt{2+\sqrt{3}}", 0, boxed("sqrt(2)+sqrt(3)")),
    (r"\sqrt[3]{4}", 1, boxed("∛4")),
    (r"\sqrt[3]{4}", 0, boxed("√4")),
    *[("x^{10}+1", 1, boxed(answer)) for answer in ("x¹⁰ + 1", "x**10 + 1", "x^(10) + 1")],
    *[("x^{10}+1", 0, boxed(answer)) for answer in ("x¹ + 1", "x*10 + 1", "x^(10+1)", "x**1 + 1")],
    (r"\sin 2x", 1, boxed("sin 2x")),
    (r"\sin 2x", 0, boxed("cos 2x")),
    (r"\arctan \frac{1}{2}", 1, boxed(r"\tan^{-1}\left(\frac12\right)")),
    (r"\arctan \frac{1}{2}", 0, boxed(r"\tan \frac12")),
    *[
        ("2516_8", 1, boxed(answer))
        for answer in (r"2516_{\text{eight}}", r"2516 \text{ (base 8)}", "2516₈", "2516 in base 8")
    ],
    *[
        ("2516_8", 0, boxed(answer))
        for answer in (r"2516_{\text{nine}}", r"2516 \text{ (base 9)}", "2516₉", "2517 in base 8")
    ],
    ("2516", 0, boxed("2516 base 8")),
    *[(r"\cos 20^\circ", 1, boxed(answer)) for answer in ("cos 20°", r"cos(20^\circ)", r"\cos(20^{\circ})")],
    *[(r"\cos 20^\circ", 0, boxed(answer)) for answer in ("cos 25°", r"20^\circ", r"\cos \frac{\pi}{8}", "sin 20°")],
    *[
        (gold, 1, boxed(answer))
        for gold, answer in ((r"\log_2 x", "log_2(x)"), (r"\ln 2", "ln(2)"), (r"2\cos x", "2cos(x)"))
    ],
    *[
        (gold, 0, boxed(answer))
        for gold, answer in ((r"\log_2 x", "log_3(x)"), (r"\ln 2", "ln(3)"), (r"\tan x", r"\tan^{-1} x"))
    ],
    # ---- choices with their letters
    *[("12", 1, boxed(answer)) for answer in (r"\textbf{(C)}\ 12", r"\text{(C) }12", "(C) 12", "C) 12")],
    *[
        ("12", 0, boxed(answer))
        for answer in (r"\textbf{(C)}\ 13", "(C) 12 or (D) 13", "(C)", r"\textbf{(C)}\ \text{not } 12")
    ],
    *[
        (r"\text{(C)}", 1, boxed(answer))
        for answer in (r"\text{(C)}", r"\textbf{(C)}\ 12", "(C) 12", "Option C", "choice (C)")
    ],
    *[
        (r"\text{(C)}", 0, boxed(answer))
        for answer in (r"\textbf{(B)}\ 12", "(C) and (D)", "12", "Option B", "not option C")
    ],
    *[
        (r"\text{(C)}", 0, boxed(answer))
        for answer in (r"\textbf{(C)} \text{ is wrong}", "(C) or (B)", r"\textbf{(C)}\ 12 (B) 13")
    ],
    ("c", 0, boxed(r"\textbf{(C)}\ 12")),
    *[
        (r"\text{(A)}", 0, boxed(answer))
        for answer in ("A) 5, B) 6", r"(A) 5, \textbf{B} 6", r"(A) 5 \vee B", r"\textbf{(A)} B", "(A) 12 [D] 13")
    ],
    (r"\text{(A) } 12", 0, boxed(r"\text{(B) } 12")),
    (r"\text{(A) } 12", 1, boxed(r"\text{(A) } 12")),
    (r"(2,\infty)", 0, boxed(r"\{y \mid x > 2\}")),
    (r"(2,\infty)", 1, boxed(r"\{x \mid x > 2\}")),
    (r"12:30 \text{ p.m.}", 0, boxed("24:30")),
    (r"\text{parallelogram}", 1, boxed(r"\text{a parallelogram}")),
    (r"\text{parallelogram}", 0, boxed(r"\text{not a parallelogram}")),
    # ---- times
    # ---- units of expressions
    *[(r"2\pi\text{ cm}", 1, boxed(answer)) for answer in (r"2\pi", r"2\pi\text{ cm}", r"2\pi \text{ centimeters}")],
    (r"2\pi\text{ cm}", 0, boxed(r"2\pi\text{ m}")),
    (r"2\pi", 1, boxed(r"2\pi\text{ m}")),
    (r"2\sqrt{3}\text{ inches}", 0, boxed(r"2\sqrt{3}\text{ feet}")),
    (r"2\sqrt{3}\text{ feet}^2", 0, boxed(r"2\sqrt{3}\text{ feet}^3")),
    (r"\frac{\pi}{4}", 0, boxed(r"\frac{\pi}{4}^\circ")),
    (r"\frac{\sqrt{3}}{2}", 0, boxed(r"\frac{\sqrt{3}}{2}\%")),
    (r"\frac{\sqrt{3}}{2}\%", 1, boxed(r"\frac{\sqrt{3}}{2}\%")),
    # Without its half of the day a time may be a ratio.
    ("1:12", 1, boxed(r"\frac{1}{12}")),
    (r"\frac{1}{12}", 1, boxed("1:12")),
    ("1:12", 1, boxed("1:12")),
    ("1:12", 0, boxed("12")),
    ("2", 0, boxed("24:12")),
    ("24:12", 0, boxed("2")),
    ("1:12", 0, boxed("12:1")),
    ("4:00", 0, boxed("4")),
    *[(r"6:30 \text{ p.m.}", 1, boxed(answer)) for answer in ("6:30 PM", "6:30", r"6{:}30\text{ pm}", "18:30")],
    *[
        (r"6:30 \text{ p.m.}", 0, boxed(answer))
        for answer in ("6:30 AM", "6:03 PM", "630", "6", "6:30:15 PM", "6.30", "18:30 AM")
    ],
    *[(r"4\text{ p.m.}", 1, boxed(answer)) for answer in ("4:00 PM", "4", "4 pm", "16:00")],
    *[(r"4\text{ p.m.}", 0, boxed(answer)) for answer in (r"4\text{ a.m.}", "4:30", "4:30 PM", "5 pm")],
    ("3:10", 0, boxed("15:10")),  # a ratio, perhaps
    # ---- labels that say what was done to it, signs in words
    ("5", 0, boxed("Negative: 5")),
    ("5", 0, boxed("The reciprocal is 5")),
    ("5", 1, boxed("Negative number count: 5")),
    (r"\text{line 2}", 0, boxed(r"\text{line -2}")),
    (r"\text{line -2}", 1, boxed("line -2")),
    (r"\text{right-angled}", 1, boxed("right angled")),
    # ---- an equation by the name of what it gives
    ("y - 2x - 3 = 0", 1, boxed("y = 2x + 3")),
    ("y - 2x - 3 = 0", 0, boxed("y = 2x - 3")),
    ("y - 2x - 3 = 0", 0, boxed("x = 2y + 3")),
    ("5", 1, "<answer>2 + 3 = 5\n#### 5</answer>"),
    ("5", 0, "<answer>2 + 3 = 5\n#### 6</answer>"),
    # ---- extraction
    ("5", 1, r"\boxed{3} is a trap; in fact \boxed{5}"),
    ("3", 0, r"\boxed{3} is a trap; in fact \boxed{5}"),
    ("5", 1, r"\boxed{\boxed{5}}"),
    (r"\frac{\sqrt{1+x}}{2}", 1, r"So $\boxed{\frac{\sqrt{1 + x}}{2}}$, as claimed.<|eot_id|>"),
    ("5", 1, "Therefore, the final answer is 5."),
    ("5", 0, "The answer is 5 or 6."),
    ("5", 1, "<answer>5"),
    *[
        ("1,-2", 1, rf"The solutions are $\boxed{{1}}$ and $\boxed{{-2}}$.{rest}")
        for rest in (r" \boxed{", r" $\boxed{}$")
    ],
    *[
        (r"\frac{1}{2}", 1, rf"\boxed{{\frac{{1}}{{2}}}}{rest}")
        for rest in (r". \boxed{", r"\boxed{}", r". \boxed", r" \[ \boxed{ \]")
    ],
    *[(r"\frac{1}{2}", 1, rf"<answer>\frac{{1}}{{2}}</answer>{rest}") for rest in ("\n<answer>", "<answer></answer>")],
    *[
        (r"\frac{1}{2}", 0, rf"\boxed{{\frac{{1}}{{2}}}}{rest}")
        for rest in (r". \boxed{\frac{", r". \boxed{2", r"\boxed{2}")
    ],
    ("5", 0, r"<answer>6</answer> although $\boxed{5}$ is near"),
    ("5", 0, ""),
]
