# SPDX-License-Identifier: Apache-2.0
r"""
Grade-school arithmetic: reference, verdict, completion.

The verdicts follow the prompt, which asks for the number between tags or in a box: a right number that is only passed
on the way is not accepted, a wrong one never.
"""

CASES = [
    # ---- as asked
    (
        "72",
        1,
        "<reasoning>\nIn May she sold 48 / 2 = 24. Together 48 + 24 = 72.\n</reasoning>\n<answer>\n72\n</answer>",
    ),
    ("72", 1, "<reasoning>48/2=24, 48+24=72</reasoning><answer>72</answer>"),
    ("72", 1, r"Half of 48 is 24, and 48 + 24 = 72. The answer is $\boxed{72}$."),
    ("72", 1, r"So she sold \boxed{72} clips in all."),
    ("10", 1, "<answer>10</answer>"),
    ("10", 1, "<ANSWER>10</ANSWER>"),
    ("-4", 1, "<answer>-4</answer>"),
    ("-4", 1, "<answer>−4</answer>"),
    # ---- leftovers of decoding
    ("72", 1, "<answer>72</answer><|eot_id|><|endoftext|><|endoftext|>"),
    ("72", 1, "<answer>72<|eot_id|>"),
    ("72", 1, r"\boxed{72}<|endoftext|>"),
    ("72", 1, "<|startoftext|><answer>72</answer>"),
    ("72", 1, "<answer>72</answer></s>"),
    ("72", 0, "<answer>7<|mdm_mask|>2</answer>"),  # the digit between is not known
    ("72", 0, "<answer>71<|eot_id|>72</answer>"),  # the text had ended
    ("72", 0, "<answer>71</answer><|eot_id|><answer>72</answer>"),
    ("7.5", 0, "<answer>7<|mdm_mask|>1/2</answer>"),
    ("72", 0, "<answer>72<|mask|></answer>"),  # or 720
    ("72", 0, "<answer>7[MASK]2</answer>"),
    ("72", 0, "<answer>72 <|MASK|></answer>"),
    ("72", 0, r"\boxed{72<|mdm_mask|>}"),
    ("72", 0, r"\boxed{72\text{ clips<|mdm_mask|>}}"),
    ("72", 0, "#### 7<|mask|>2"),
    ("72", 0, "The answer is 72<|mdm_mask|>"),
    ("72", 1, "<reasoning>48 <|mdm_mask|> 24</reasoning><answer>72</answer><|mdm_mask|>"),
    ("72", 1, "<answer>72< /answer>"),
    # ---- torn and doubled tags
    ("72", 1, "<reasoning>48+24=72</reasoning>\n<answer>72"),
    ("72", 1, "<answer>72\n\nLet me check that: 48 + 24 is 72."),
    ("72", 1, "<answer>72\nSo Nadia sold 72 clips."),
    ("72", 1, "<answer>72</ans"),
    ("72", 1, "<answer>72</answer"),
    ("72", 1, "<answer>72<answer>"),
    ("72", 1, "<answer>72</reasoning>"),
    ("72", 1, "< answer >72</ answer >"),
    ("72", 1, "<answer>70</answer> Wait, that is wrong.\n<answer>72</answer>"),
    ("72", 0, "<answer>72</answer> Wait, that is wrong.\n<answer>70</answer>"),
    ("72", 1, "<answer>72</answer>\nI hope this helps! There were 48 in April and 24 in May."),
    ("72", 1, r"<answer>\boxed{72}</answer>"),
    ("72", 1, r"<answer>The total is $\boxed{72}$.</answer>"),
    ("72", 0, "<answer></answer> 72"),
    ("72", 0, "<reasoning>It is 72.</reasoning><answer></answer>"),
    ("72", 0, "<reasoning>48 + 24 = 72</reasoning>"),
    # ---- a mark with nothing in it takes back no answer, another answer does
    *[
        ("72", 1, f"<answer>72</answer>{rest}")
        for rest in (
            *(
                "\n<answer>",
                " Wait, <answer>",
                " <answer></answer>",
                " <answer>\n</answer> <answer>",
                " <answer></ans",
            ),
            *(r" <answer>\boxed{", r" <answer>\boxed{}</answer>", " <answer><|eot_id|>73</answer>"),
        )
    ],
    *[
        ("72", 0, f"<answer>72</answer>{rest}")
        for rest in (" <answer>73", "<answer>7", " <answer>?", "<answer><|mask|>")
    ],
    ("73", 1, "<answer>72</answer> <answer>73"),
    ("72", 1, "<answer>72\n\nLet me check that: 48 + 24 is 72.\n<answer>"),
    *[
        ("3", 1, rf"\boxed{{3}}{rest}")
        for rest in (r". \boxed{", r"\boxed{}", r". \boxed", r"$. So $\boxed{$", r". \fbox{ }. \boxed{\boxed{")
    ],
    *[("3", 0, rf"\boxed{{3}}{rest}") for rest in (r". \boxed{4", r". \boxed{\text", r". \boxed{<|mask|>}")],
    *[("3", 0, rf"\boxed{{3}}{rest}") for rest in (r" and \boxed{", r", \boxed{}", r" or $\boxed{")],  # a torn list
    ("72", 0, "<answer></answer> 72 <answer>"),
    ("72", 1, "#### 72\n####"),
    ("72", 0, "#### 72\n#### 7"),
    # ---- boxes
    ("72", 1, r"First \boxed{24}, then \boxed{72}."),
    ("24", 0, r"First \boxed{24}, then \boxed{72}."),
    ("72", 1, r"\boxed{\text{72}}"),
    ("72", 1, r"\[ \boxed{72 \text{ clips}} \]"),
    ("72", 1, r"$$\boxed{ 72 }$$"),
    ("72", 1, r"$\boxed{72$"),
    ("72", 1, r"\boxed 72"),
    ("72", 1, r"\fbox{72}"),
    ("72", 0, r"\boxed{}"),
    ("72", 0, r"\boxed{72 or 73}"),
    # ---- money, units, separators
    ("18", 1, "<answer>$18</answer>"),
    ("18", 1, r"\boxed{\$18.00}"),
    ("18", 1, "<answer>$18.00.</answer>"),
    ("18", 1, "<answer>18 dollars</answer>"),
    ("18", 1, "<answer>€18</answer>"),
    ("5", 0, "<answer>5 thousand</answer>"),
    ("5", 0, "<answer>5 dozen</answer>"),
    ("70000", 1, "<answer>70,000</answer>"),
    ("70,000", 1, "<answer>$70000</answer>"),
    ("70000", 1, r"\boxed{70{,}000}"),
    ("70000", 1, r"\boxed{70\,000}"),
    ("70000", 0, "<answer>70</answer>"),
    ("70000", 0, "<answer>70,00</answer>"),
    ("70000", 0, "<answer>7000</answer>"),
    ("1000", 1, "<answer>1,000 meters</answer>"),
    ("50", 1, "<answer>50%</answer>"),
    ("50", 1, r"\boxed{50\%}"),
    ("50", 1, "<answer>50 percent</answer>"),
    ("50", 0, "<answer>0.5</answer>"),
    ("16", 1, "<answer>16 square feet</answer>"),
    ("16", 1, r"\boxed{16\text{ ft}^2}"),
    ("90", 1, "<answer>90°</answer>"),
    ("4", 1, "<answer>4 m</answer>"),
    ("1080", 1, "<answer>1\u2009080</answer>"),  # a thin space
    ("1080", 0, "<answer>1 080</answer>"),  # two numbers
    ("72", 1, "<answer>72 left</answer>"),
    ("72", 1, "<answer>72 clips!</answer>"),
    ("72", 1, "<answer>72 miles per hour</answer>"),
    ("72", 1, r"<answer>\textbf{72 dollars}</answer>"),
    ("72", 1, r"\boxed{\text{72 clips}}"),
    ("72", 0, r"\boxed{7\text{2 clips}}"),
    *[
        ("72", 0, f"<answer>72 {words}</answer>")
        for words in ("less", "more", "fewer clips", "short", "per-cent less")
    ],
    *[
        ("72", 0, f"<answer>72 {words}</answer>")
        for words in ("grand", "lakh", "crore", "tens", "score", "half-dozens")
    ],
    *[("72", 0, f"<answer>72 {words}</answer>") for words in ("hundred", "dozens", "quadrillion", "twenty-fifths")],
    ("72", 0, r"\boxed{72\text{ thousand dollars}}"),
    ("72", 0, r"\boxed{72\text{!}}"),
    ("72", 0, r"\boxed{72\text{ + 1}}"),
    ("1000", 1, "<answer>US$1000</answer>"),
    ("1000", 1, "<answer>USD 1000</answer>"),
    ("5", 1, "<answer>$5 per week</answer>"),
    ("5", 1, "<answer>$2 + $3 = $5</answer>"),
    ("5", 0, "<answer>$5 cents</answer>"),
    ("72", 1, r"\boxed{72^\circ \text{F}}"),
    ("0.72", 1, "<answer>0.72 cents</answer>"),  # the reference has no unit: nobody can tell
    # ---- numbers abbreviated, altered, or taken back by the words behind them
    *[
        ("5", 0, f"<answer>5 {unit}</answer>")
        for unit in ("M", "mil", "mln", "mn", "bil", "bn", "K", "thous", "MM", "T")
    ],
    *[("5", 0, f"<answer>${5} {unit}</answer>") for unit in ("M", "m", "b", "bil", "mm", "million")],
    *[("5", 0, rf"\boxed{{5\text{{{unit}}}}}") for unit in ("M", "B", " M", " mil", "K", " million")],
    *[("5", 0, rf"\boxed{{\${5}\text{{{unit}}}}}") for unit in ("M", "m", " b", " mil")],
    *[
        ("72", 0, f"<answer>72 {words}</answer>")
        for words in (
            "halved",
            "quadrupled",
            "off",
            "extra",
            "clips extra",
            "more than 3",
            "more or fewer clips",
            "clips more",
            "ahead",
            "almost",
            "neither",
        )
    ],
    ("72", 0, "<answer>72 minutes past 3</answer>"),
    ("72", 0, "<answer>72 without the rest</answer>"),
    ("5", 1, "<answer>5 cm2</answer>"),
    ("72", 0, "<answer>The answer cannot be: 72</answer>"),
    ("72", 0, "<answer>Neither: 72</answer>"),
    ("72", 0, "<answer>It can't be: 72</answer>"),
    ("72", 0, "<answer>It can’t be: 72</answer>"),
    ("72", 0, "<answer>It cant be: 72</answer>"),
    ("72", 0, "<answer>Impossible: 72</answer>"),
    ("72", 0, "<answer>The number is unlikely 72</answer>"),
    ("72", 1, "<answer>72 = x</answer>"),
    ("72", 0, "<answer>72 = 2x</answer>"),
    ("72", 0, "<answer>72 = half of it</answer>"),
    # ---- "how many more", "how many times", "how many pairs"
    *[
        ("15", 1, f"<answer>15 {words}</answer>")
        for words in (
            *("more minutes", "more clips", "extra cookies", "additional clips", "more square feet", "more dollars"),
            *("times", "more times", "pairs", "pair", "pairs of shoes", "more pairs of shoes", "extra pairs"),
        )
    ],
    ("15", 1, "<answer>$15 more dollars</answer>"),
    ("15", 1, r"\boxed{15\text{ more minutes}}"),
    *[
        ("2", 0, f"<answer>{text}</answer>")
        for text in ("2 times 36", "36 times 2", "2 times x", "2 times more", "2 times 1")
    ],
    *[
        ("2", 0, f"<answer>2 {words}</answer>")
        for words in ("times the clips", "times less", "pairs less", "pairs of two")
    ],
    ("72", 0, "<answer>72 times 2</answer>"),
    ("72", 0, "<answer>72 more clips than Nadia</answer>"),
    ("10", 0, "<answer>5 pairs</answer>"),
    ("15 minutes", 0, "<answer>15 more hours</answer>"),
    # ---- words that multiply
    *[
        ("36", 1, f"<answer>{text}</answer>")
        for text in ("3 dozen", "3 dozen eggs", "3 dozens", "3 dozen more eggs", "6*6 = 3 dozen")
    ],
    *[
        ("3", 0, f"<answer>3 {words}</answer>")
        for words in ("dozen", "dozen eggs", "more dozen", "hundred", "Million")
    ],
    *[
        ("36", 0, f"<answer>3 {words}</answer>")
        for words in ("dozen less", "half-dozens", "dozen more", "dozenths", "dozen and 1")
    ],
    *[
        ("1200000", 1, text)
        for text in (
            *("<answer>$1.2 million</answer>", "<answer>1.2 million dollars</answer>", "<answer>1.2million</answer>"),
            *(
                r"\boxed{\$1.2\text{ million}}",
                r"\boxed{1.2\text{ million dollars}}",
                "<answer>1,200 thousand</answer>",
            ),
        )
    ],
    *[
        ("1200000", 0, f"<answer>{text}</answer>")
        for text in (
            "1.2",
            "12 million",
            "$1.2 million cents",
            "$1.2 M",
            "1.2 million and 5",
            "120 million%",
            "6/5 million",
        )
    ],
    ("1.2", 0, "<answer>$1.2 million</answer>"),
    # ---- decimals and fractions
    ("3", 1, "<answer>3.0</answer>"),
    ("3", 0, "<answer>3.5</answer>"),
    ("12", 0, "<answer>12.5</answer>"),
    ("12.5", 0, "<answer>12</answer>"),
    ("12.5", 0, "<answer>12,5</answer>"),
    ("125", 0, "<answer>12,5</answer>"),
    ("0.5", 1, "<answer>1/2</answer>"),
    ("0.5", 1, r"\boxed{\frac{1}{2}}"),
    ("0.5", 1, "<answer>.5</answer>"),
    ("0.5", 1, "<answer>50%</answer>"),
    ("0.5", 0, "<answer>0.5%</answer>"),
    ("7/2", 1, "<answer>3 1/2</answer>"),
    ("7/2", 1, "<answer>3.5 hours</answer>"),
    ("33", 0, "<answer>33.33</answer>"),
    ("72", 0, "<answer>144/2</answer>"),  # not worked out
    ("72", 0, "<answer>72/1</answer>"),
    ("72", 0, r"\boxed{\frac{144}{2}}"),
    ("72", 1, "<answer>144/2 = 72</answer>"),
    ("0.75", 1, "<answer>6/8</answer>"),
    ("0.75", 0, "<answer>1.5/2</answer>"),
    ("72", 0, "<answer>7.2e1</answer>"),
    ("72", 0, r"\boxed{7.2 \times 10^1}"),
    # ---- work inside the tag
    ("72", 1, "<answer>48 + 24 = 72</answer>"),
    ("72", 1, "<answer>48 clips + 24 clips = 72 clips</answer>"),
    ("72", 1, "<answer>48/2 = 24, 48+24 = 72</answer>"),
    ("72", 1, "<answer>x = 72</answer>"),
    ("72", 1, "<answer>Total clips = 72</answer>"),
    ("72", 1, "<answer>Total: 72</answer>"),
    ("72", 1, "<answer>The answer is 72.</answer>"),
    ("72", 1, "<answer>**72**</answer>"),
    ("72", 1, "<answer>`72`</answer>"),
    ("72", 0, "<answer>48 + 24</answer>"),  # not worked out
    ("7", 0, "<answer>2x + 1 = 7</answer>"),  # that says x = 3
    ("72", 0, "<answer>48 + 24 = 71</answer>"),
    ("72", 0, "<answer>72 = 71</answer>"),
    ("72", 0, "<answer>not 72</answer>"),
    ("72", 0, "<answer>72 is wrong</answer>"),
    ("72", 0, "<answer>Not: 72</answer>"),
    ("72", 0, "<answer>it is not x = 72</answer>"),
    ("72", 0, "<answer>72 times two</answer>"),
    ("72", 0, "<answer>72 degrees below zero</answer>"),
    ("72", 0, "<answer>72 minus one</answer>"),
    ("72", 0, "<answer>minus 72</answer>"),
    ("72", 0, "<answer>72 and a half</answer>"),
    ("3", 0, "<answer>x^2 = 3</answer>"),
    ("3", 0, "<answer>-x = 3</answer>"),
    ("12", 0, "<answer>12, not 15</answer>"),
    ("72", 0, "<answer>between 70 and 72</answer>"),
    ("72", 0, "<answer>70-72</answer>"),
    ("72", 0, "<answer>72 73</answer>"),
    ("72", 0, "<answer>172</answer>"),
    ("72", 0, "<answer>72!</answer>"),
    ("72", 0, "<answer>I do not know</answer>"),
    ("72", 0, "<answer>?</answer>"),
    ("5", 0, "<answer>5!.</answer>"),  # 120
    ("5", 0, "<answer>$5!$.</answer>"),
    ("5", 0, r"\boxed{5!.}"),
    ("5", 0, "The answer is 5!"),  # who knows?
    ("5", 1, r"The answer is \boxed{5}!"),
    ("72", 1, "<answer>48 + 24 = **72**</answer>"),
    ("72", 0, "<answer>72**2</answer>"),
    ("72", 1, "<answer>72 = 30 + 42</answer>"),
    ("72", 1, "<answer>72 clips = 48 clips + 24 clips</answer>"),
    ("60", 1, "<answer>1 hour = 60 minutes</answer>"),
    ("72", 0, "<answer>71 = 72</answer>"),
    ("72", 0, "<answer>x = 71 = 72</answer>"),
    ("72", 0, "<answer>71 == 72</answer>"),
    ("72", 0, "<answer>71 clips = 72</answer>"),
    ("72", 0, "<answer>73 = 30 + 42</answer>"),
    # ---- equations that are wrong, or give something else as well
    *[
        ("72", 0, f"<answer>{text}</answer>")
        for text in (
            *(
                "apples = 10, total = 72",
                "apples = 10; total = 72",
                "apples = 10 and total = 72",
                "apples: 10, total = 72",
            ),
            *("2 + 2 = 72", "48 + 25 = 72", "48/2 = 24, 24+24 = 72", "100/3 = 72", "0.5*10 = 72", r"36 \times 3 = 72"),
            *("5 hours = 72 minutes", "1 hour = 72 minutes", "72 minutes = 5 hours", "$1 = 72 cents", "1/2 = 72%"),
            *("5 pairs = 72 shoes", "3 dozen = 72", "x = 2 + 2 = 72", "Total: 2 + 2 = 72", "¤50 + ¤23 = ¤72"),
            *("ten times: 72", "Three times: 72", "ten times = 72", "twice = 72"),
        )
    ],
    *[
        ("72", 1, f"<answer>{text}</answer>")
        for text in (
            *("48/2 = 24, total = 72", "48/2 = 24 and 48+24 = 72", "48 + 24 clips, total = 72", "48/2 = 24 + 48 = 72"),
            *(
                "x = 3*24 = 72",
                "Total = 48 + 24 = 72",
                "1,000 - 928 = 72",
                "0.5*144 = 72",
                "3600/50 = 72",
                "$50 + $22 = $72",
            ),
            *("1 hour + 12 minutes = 72 minutes", "1.2 hours = 72 minutes", "6 feet = 72 inches", "$0.72 = 72 cents"),
            *(
                "36 pairs = 72 shoes",
                "6 dozen = 72",
                "9 weeks = 72 days",
                "18/25 = 72%",
                "Number of times: 72",
                "Times: 72",
            ),
            *("215/3 = 72", "4300/60 = 72", "71.5 + 0.2 = 72"),
        )
    ],
    *[
        ("33.33", 1, f"<answer>{text}</answer>")
        for text in ("100/3 = 33.33", r"\frac{100}{3} = 33.33", "66.67/2 = 33.33")
    ],
    *[
        ("33.33", 0, f"<answer>{text}</answer>")
        for text in ("101/3 = 33.33", r"\frac{100}{4} = 33.33", "33 + 1 = 33.33")
    ],
    *[
        ("1.67", 1, "<answer>100 minutes = 1.67 hours</answer>"),
        ("1.67", 0, "<answer>90 minutes = 1.67 hours</answer>"),
    ],
    ("40", 1, "<answer>5 days = 40 hours</answer>"),  # of work
    ("72", 0, "<answer>7 = 2x + 1 = 72</answer>"),
    ("72", 1, "<answer>The total is 72</answer>"),
    ("72", 1, "<answer>There are 72 clips.</answer>"),
    ("72", 1, "<answer>Total: 48 + 24 = 72</answer>"),
    ("72", 0, "<answer>The total is 72 or 73</answer>"),
    ("72", 0, "<answer>The total is not 72</answer>"),
    ("72", 0, "<answer>The total is less than 72</answer>"),
    ("72", 0, "<answer>The wrong answer would be, and the total is 72</answer>"),
    ("72", 0, "<answer>The number that it isn't is 72</answer>"),
    ("72", 0, "<answer>False: 72</answer>"),
    ("72", 0, "<answer>More than: 72</answer>"),
    ("72", 0, "<answer>Natalia sold 72 clips altogether.</answer>"),  # a sentence may say anything about a number
    ("72", 0, "<answer>Natalia sold 72 clips fewer than Nadia.</answer>"),
    ("72", 0, "<answer>seventy-two</answer>"),
    ("72", 1, "<answer>48 + 24 = <<48+24=72>>72</answer>"),
    ("72", 0, "<answer>48 + 24 = <<48+24=72>>71</answer>"),
    ("72", 0, "<answer><<48+24=72>></answer>"),
    *[("72", 1, f"<answer>{text}</answer>") for text in ("(72)", "[72]", "{72}", "72 clips (48 + 24)")],
    *[
        ("72", 0, f"<answer>{text}</answer>")
        for text in ("(-72)", "72 (48 + 24)", "72 clips (70 - 74)", "72 clips (73)")
    ],
    ("72", 1, r"\boxed{{72}}"),
    ("72", 1, r"\boxed{\bm{72}}"),
    ("72", 1, r"\boxed{\underline{72}}"),
    ("72", 1, r"\boxed{\text{Total clips: } 72}"),
    ("72", 0, r"\boxed{\text{Not: } 72}"),
    ("1000", 1, r"\boxed{1\ 000}"),
    ("1000", 1, r"\boxed{1\;000}"),
    ("0.5", 1, "<answer>½</answer>"),
    ("2.5", 1, "<answer>2½</answer>"),
    ("1", 0, "<answer>2½</answer>"),
    ("72", 1, "<answer>72<|reserved_token_163839|></answer>"),
    ("72", 0, "<answer>7<|reserved_token_163839|>2</answer>"),
    ("72", 0, "<answer>7<|mask_1|>2</answer>"),
    ("72", 1, "<answer>72<end_of_turn>"),
    ("72", 1, "<answer>72[/INST]"),
    # ---- without tag or box
    ("72", 1, "48 + 24 = 72.\n\n**Final Answer**\n\n72"),
    ("72", 0, "48 + 24 = 72.\n\n**Final Answer**\n\n72 or 73"),
    ("72", 0, "I have no answer\n72"),
    ("72", 1, "The answer is 72.\n\nI hope this helps!"),
    ("72", 1, "The answer is 72. I hope it is correct."),
    ("72", 0, "The answer is 72.\n\nI hope this is not wrong!"),
    ("-2", 0, r"The solutions are $\boxed{1}$ and $\boxed{-2}$."),
    ("-2", 1, r"So $\boxed{-2}$ and $\boxed{-2}$."),
    ("72", 1, "72"),
    ("72", 1, "She sold 48 + 24 = 72 clips.\n#### 72"),
    ("1000", 1, "#### 1,000"),
    ("72", 0, "#### 71\nor 72"),
    ("72", 1, "48 + 24 = 72.\nThe answer is 72."),
    ("72", 1, "48 + 24 is it. So the answer is: $72"),
    ("72", 1, "Final answer: 72"),
    ("12", 0, "The answer is 12, not 15."),
    ("15", 0, "The answer is 12, not 15."),
    ("15", 0, "The answer is not 15"),
    ("72", 0, "I doubt that the answer is 72."),
    ("72", 0, "If so, the answer is 72. But that cannot be, so I stop here."),
    ("72", 0, "In May she sold 24 clips, and 48 + 24 = 72"),
    ("2", 0, "There are 2 steps.\n1. Halve 48.\n2"),
    ("72", 0, ""),
    ("72", 0, "\n\n"),
    ("72", 0, "!!!!!!!!!!!!!!!!!!!!!!!!"),
    ("72", 0, "72 72 72 72 72 72 72 72"),
]
