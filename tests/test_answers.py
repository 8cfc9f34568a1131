# SPDX-License-Identifier: Apache-2.0
"""Any right answer in any dress that is accepted scores; a wrong one never does."""

import threading
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_diffusion.rewards import (
    answer_format_reward,
    boxed_format_reward,
    countdown_numbers_reward,
    gsm8k_reward,
    math_reward,
    reasoning_format_reward,
    sudoku_cells_reward,
)
from trl_diffusion.rewards.answers import parse_answer
from trl_diffusion.rewards.equivalence import equivalent, parse_gold
from trl_diffusion.rewards.expressions import is_bounded
from trl_diffusion.rewards.extraction import extract_answer, extract_final_answer, last_boxed
from trl_diffusion.rewards.latex import tidy
from trl_diffusion.rewards.numbers import Number, parse_number


def math_score(text, gold):
    return math_reward([text], answer=[gold])[0]


def gsm8k_score(text, gold):
    return gsm8k_reward([text], answer=[gold])[0]


# ---------------------------------------------------------------- dresses


def outer_dresses(answer):
    """Ways to mark an answer."""
    return [
        f"<answer>{answer}</answer>",
        f"<reasoning>\nFirst 3, then 4.\n</reasoning>\n<answer>\n{answer}\n</answer>",
        f"<answer>{answer}</answer> I am sure of it, 100%.",
        f"<answer>{answer}",
        f"<answer>{answer}<|eot_id|><|endoftext|>",
        f"<answer>999983</answer> No! <answer>{answer}</answer>",
        f"<answer>${answer}$</answer>",
        f"Thus $\\boxed{{{answer}}}$.",
        f"\\boxed{{999983}} is wrong. \\[\\boxed{{ {answer} }}\\]",
        f"<answer>\\boxed{{{answer}}}</answer>",
        f"We add 3 and 4.\nThe answer is {answer}.",
        f"{answer}",
    ]


def number_dresses(value):
    """Ways to write a fraction exactly."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    top, bottom = size.numerator, size.denominator
    if bottom == 1:
        yield from (
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"x = {sign}{top}",
            f"{value - 5} + 5 = {sign}{top}",
        )
        yield from (f"{sign}{top} apples", rf"{sign}{top}\text{{ cm}}", f"{sign}{top:,}".replace(",", "{,}"))
        return
    yield from (rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{3 * top}}}{{{3 * bottom}}}")
    yield from (f"{sign}{top}/{bottom}", rf"\frac{{{sign}{top}}}{{{bottom}}}")
    whole, rest = divmod(top, bottom)
    if whole:
        yield from (rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}")


integers = st.integers(-10_000_000, 10_000_000).map(Fraction)
fractions = st.fractions(-1000, 1000, max_denominator=60)


@given(st.one_of(integers, fractions), st.data())
@settings(max_examples=150, deadline=None)
def test_a_right_number_scores_in_any_dress(value, data):
    dress = data.draw(st.sampled_from(list(number_dresses(value))))
    text = data.draw(st.sampled_from(outer_dresses(dress)))
    assert gsm8k_score(text, str(value)) == 1, text
    assert math_score(text, next(number_dresses(value))) == 1, text


@given(st.one_of(integers, fractions), st.one_of(integers, fractions), st.data())
@settings(max_examples=150, deadline=None)
def test_a_wrong_number_never_does(value, other, data):
    value = value + 1 if value == other else value
    dress = data.draw(st.sampled_from(list(number_dresses(other))))
    text = data.draw(st.sampled_from(outer_dresses(dress)))
    assert gsm8k_score(text, str(value)) == 0, text
    assert math_score(text, next(number_dresses(value))) == 0, text


counts = st.integers(-999, 9999)
# Written by hand, not taken from the code: scales, comparisons, operations, denials.
ALTERING = (
    "hundred thousand million billion lakh crore grand dozen dozens score gross tens hundreds thirds half quarters "  # noqa: SIM905
    "sixteenths thirteen twenty-one less fewer short below under over plus minus squared doubled not wrong "
    "incorrect false never isn't".split()
)
NOUNS = ["apples", "dollars", "people", "mice", "tenants", "scoreboards", "shorts", "lessons", "notes", "canteens"]


@given(counts.filter(bool), st.integers(1, 60), st.sampled_from(ALTERING), st.sampled_from(NOUNS), st.data())
@settings(max_examples=300, deadline=None)
def test_a_right_number_that_something_is_made_of_never_does(gold, by, word, noun, data):
    """Nor one that is not worked out, is taken back, or stands beside another."""
    dresses = [
        *(f"{gold}!", f"{gold}!.", f"${gold}!$.", f"{gold} !", rf"{gold}\text{{!}}", f"{gold}!!"),
        *(f"{gold * by}/{by}", rf"\frac{{{gold * by}}}{{{by}}}", rf"\dfrac{{{gold * by}}}{{{by}}}", f"{gold}/1"),
        *(f"{gold + by} = {gold}", f"{gold} = {gold + by}", f"x = {gold + by} = {gold}", f"{gold + by} == {gold}"),
        *(f"{gold} {word}", f"{gold} {word} {noun}", f"{gold} {noun} {word}", rf"{gold}\text{{ {word}}}"),
        *(f"{gold} more", f"{gold} {noun} more", f"{gold} times {noun}", f"{gold} more {word} {noun}"),
        *(rf"{gold}\text{{ {noun} {word}}}", f"False: {gold}", f"Not the total: {gold}", f"The total isn't {gold}"),
        *(f"{gold}e0", f"{gold}.0e0", f"{gold} 000", f"{gold}**1", f"{gold}^1", f"{gold}+0"),
    ]
    text = data.draw(st.sampled_from(outer_dresses(data.draw(st.sampled_from(dresses)))))
    assert gsm8k_score(text, str(gold)) == 0, text
    assert math_score(text, str(gold)) == 0, text


@given(counts, st.integers(1, 60), st.sampled_from(NOUNS), st.data())
@settings(max_examples=150, deadline=None)
def test_a_right_number_with_a_noun_or_its_sum_scores(gold, by, noun, data):
    dresses = [
        *(f"{gold} {noun}", f"{gold} {noun}!", rf"{gold}\text{{ {noun}}}", rf"\textbf{{{gold} {noun}}}"),
        *(f"{gold} = {gold - by} + {by}", f"{gold - by} + {by} = {gold}", f"{gold - by} + {by} = **{gold}**"),
        *(f"The total is {gold}", f"Total: {gold} {noun}", f"{gold * by}/{by} = {gold}"),
    ]
    dress = data.draw(st.sampled_from(dresses))
    text = data.draw(st.sampled_from([d for d in outer_dresses(dress) if "\n" not in d or "<" in d]))
    assert gsm8k_score(text, str(gold)) == 1, text
    assert math_score(text, str(gold)) == 1, text


@given(st.lists(st.integers(1, 99), min_size=2, max_size=4), st.integers(1, 60), st.data())
@settings(max_examples=100, deadline=None)
def test_only_true_equations_score(numbers, by, data):
    signs = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1))
    sum_ = " ".join(f"{sign} {number}" for sign, number in zip(["", *signs], numbers)).strip()
    value = eval(sum_)  # of numbers and signs drawn here
    for gold in (value, value + by, value - by):
        for text in (
            f"{sum_} = {gold}",
            f"x = {sum_} = {gold}",
            f"{gold} = {sum_}",
            f"{sum_} = {value}, {value} = {gold}",
        ):
            assert gsm8k_score(f"<answer>{text}</answer>", str(gold)) == (gold == value), text
            assert math_score(rf"\boxed{{{text}}}", str(gold)) == (gold == value and ", " not in text), text


MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}


@given(counts, st.sampled_from(sorted(MULTIPLES)), st.sampled_from(NOUNS), st.data())
@settings(max_examples=100, deadline=None)
def test_words_that_multiply(count, word, noun, data):
    gold = count * MULTIPLES[word]
    dresses = [f"{count} {word}", f"{count} {word} {noun}", rf"{count}\text{{ {word} {noun}}}", f"{count:,} {word}"]
    text = data.draw(st.sampled_from(outer_dresses(data.draw(st.sampled_from(dresses)))))
    assert gsm8k_score(text, str(gold)) == math_score(text, str(gold)) == 1, text
    assert gsm8k_score(text, str(gold + 1)) == math_score(text, str(gold + 1)) == 0, text


@given(counts, st.sampled_from(["<|mdm_mask|>", "<|mask|>", "<|MASK|>", "[MASK]", "<mask>"]), st.data())
@settings(max_examples=150, deadline=None)
def test_a_mask_within_an_answer_leaves_none(gold, mask, data):
    answer = f"{gold} 1/2"
    place = data.draw(st.integers(0, len(answer)))
    torn = answer[:place] + mask + answer[place:]
    for text in (f"<answer>{torn}</answer>", rf"\boxed{{{torn}}}", f"#### {torn}", f"The answer is {torn}", torn):
        assert extract_final_answer(text) == "" and gsm8k_score(text, answer) == 0
        assert math_score(text, str(gold)) == math_score(text, rf"{gold}\frac{{1}}{{2}}") == 0
    spared = f"{mask}<reasoning>{mask}</reasoning><answer>{gold}</answer>{mask}"
    assert gsm8k_score(spared, str(gold)) == math_score(spared, str(gold)) == 1


@given(st.integers(0, 99), st.text("0123456789", max_size=3), st.text("0123456789", min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_repeating_decimals(whole, head, period):
    """Against the sum of the geometric series."""
    size = Fraction(1, 10 ** len(period))
    value = (
        whole + Fraction(int(head or 0), 10 ** len(head)) + Fraction(int(period), 10 ** len(head)) * size / (1 - size)
    )
    text = rf"{whole}.{head}\overline{{{period}}}"
    assert math_score(rf"\boxed{{{next(number_dresses(value))}}}", text) == 1
    assert math_score(rf"\boxed{{{text}}}", next(number_dresses(value))) == 1
    wrong = f"{whole}.{head}{period * 3}" if int(period) else f"{whole}.{head}1"
    assert math_score(rf"\boxed{{{wrong}}}", text) == 0


@given(st.integers(1, 9999), st.text(alphabet="0123456789.,/%- ", max_size=8))
@settings(max_examples=200, deadline=None)
def test_what_scores_is_the_number(gold, text):
    """Whatever is made of these characters and scores says the number, when read by other means."""
    if gsm8k_score(f"<answer>{text}</answer>", str(gold)):
        plain = text.strip(" .,-").replace(",", "").replace("%", "").strip()
        parts = plain.split()
        assert sum(Fraction(part.rstrip(".")) for part in parts) == gold and "-" not in text.strip(" .,")


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=5, unique=True), st.data())
@settings(max_examples=80, deadline=None)
def test_lists_in_any_order_and_tuples_in_theirs(items, data):
    shuffled = data.draw(st.permutations(items))
    gold, given_ = ", ".join(map(str, items)), ",".join(map(str, shuffled))
    for dress in (given_, rf"\{{{given_}\}}", rf"\left\{{{given_}\right\}}", given_.replace(",", r"\text{ and }")):
        assert math_score(rf"\boxed{{{dress}}}", gold) == 1, dress
    assert math_score(rf"\boxed{{({given_})}}", f"({gold})") == (items == shuffled)
    changed = [*shuffled[:-1], shuffled[-1] + 101]
    assert math_score(rf"\boxed{{{', '.join(map(str, changed))}}}", gold) == 0
    assert math_score(rf"\boxed{{{', '.join(map(str, shuffled[1:]))}}}", gold) == 0
    assert math_score(rf"\boxed{{({given_})}}", gold) == 0


@given(st.integers(-9, 9), st.integers(0, 9), st.sampled_from(["()", "(]", "[)", "[]"]), st.data())
@settings(max_examples=60, deadline=None)
def test_intervals_have_the_same_ends_and_brackets(low, width, brackets, data):
    gold = f"{brackets[0]}{low}, {low + width}{brackets[1]}"
    assert math_score(rf"\boxed{{x \in \left{brackets[0]}{low},{low + width}\right{brackets[1]}}}", gold) == 1
    other = data.draw(st.sampled_from([b for b in ("()", "(]", "[)", "[]") if b != brackets]))
    assert math_score(rf"\boxed{{{other[0]}{low},{low + width}{other[1]}}}", gold) == 0
    assert math_score(rf"\boxed{{{brackets[0]}{low},{low + width + 1}{brackets[1]}}}", gold) == 0


@given(st.integers(-9, 9), st.integers(1, 9), *[st.sampled_from("([")] * 2, *[st.sampled_from(")]")] * 2)
@settings(max_examples=80, deadline=None)
def test_inequalities_are_intervals_with_the_same_ends(low, width, left, other_left, right, other_right):
    high, less, more = low + width, {"(": "<", "[": r"\le", ")": "<", "]": r"\le"}, {"<": ">", r"\le": r"\geq"}
    gold = rf"x \in {left}{low}, {high}{right}"
    first, second = less[other_left], less[other_right]
    same = (left, right) == (other_left, other_right)
    for text in (f"{low} {first} x {second} {high}", f"{high} {more[second]} x {more[first]} {low}"):
        assert math_score(rf"\boxed{{{text}}}", gold) == same, text
        assert math_score(rf"\boxed{{{gold}}}", text) == same, text
        assert math_score(rf"\boxed{{{text.replace('x', 'y')}}}", gold) == 0
    assert math_score(rf"\boxed{{{low} {less[left]} x {less[right]} {high + 1}}}", gold) == 0
    assert math_score(rf"\boxed{{x {second} {high}}}", rf"(-\infty, {high}{right}") == (right == other_right)
    assert math_score(rf"\boxed{{{low} {first} x}}", rf"{left}{low}, \infty)") == (left == other_left)
    assert math_score(rf"\boxed{{x {first} {low}}}", rf"{left}{low}, \infty)") == 0


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_polynomials_in_any_order(coefficients, change):
    a, b, c = coefficients
    gold = f"{a}x^2 + {b}x + {c}".replace("+ -", "- ")
    assert math_score(rf"\boxed{{{c} + {b} x + {a} x^{{2}}}}".replace("+ -", "- "), gold) == 1
    assert math_score(rf"\boxed{{{c + change} + {b} x + {a} x^{{2}}}}".replace("+ -", "- "), gold) == 0


surds = st.tuples(
    st.integers(-4, 4).filter(bool), st.sampled_from([2, 3, 5, 8, 12, 18, 27]), st.integers(-3, 3), st.integers(1, 4)
)


@given(surds, surds, st.sampled_from([r"{a}\sqrt{{{b}}} + \frac{{{c}\pi}}{{{d}}}", r"{c}\pi/{d} + {a} \sqrt {{{b}}}"]))
@settings(max_examples=50, deadline=None)
def test_surds_score_if_and_only_if_they_are_equal(first, second, form):
    """Of two parts that no rational relation binds: the square of one and the fraction of the other decide."""

    def canonical(a, b, c, d):
        return a > 0, a * a * b, Fraction(c, d)

    def write(surd, form):
        return form.format(**dict(zip("abcd", surd))).replace("+ -", "- ")

    gold = write(first, r"{a}\sqrt{{{b}}} + \frac{{{c}\pi}}{{{d}}}")
    doubled = (2 * first[0], first[1], 2 * first[2], 2 * first[3])
    for surd in (first, second, doubled):
        right = canonical(*surd) == canonical(*first)
        assert math_score(rf"\boxed{{{write(surd, form)}}}", gold) == right, (gold, surd)


@given(st.text(max_size=150))
@settings(max_examples=150, deadline=None)
def test_any_text_gets_a_score(text):
    for gold in ("7", r"2\sqrt{3}", "x+1"):
        assert math_score(text, gold) in (0, 1) and math_score(rf"\boxed{{{text}}}", gold) in (0, 1)
    assert gsm8k_score(text, "123456789") == 0


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    "text, box",
    [
        (r"\boxed{1}", "1"),
        (r"\boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed{a_{b_{c}}} and so on", "a_{b_{c}}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed 5 is it", "5"),
        (r"$\boxed5$", "5"),
        (r"\boxed{x^{2}", "x^{2}"),
        ("\\boxed{3\nand more {", "3"),
        (r"\boxed{}", ""),
        (r"\boxed", ""),
        ("boxed{1}", None),
        ("", None),
    ],
)
def test_last_boxed(text, box):
    assert last_boxed(text) == box


def test_the_puzzles_and_mathematics_read_the_same_tags():
    for text in ("<answer>12", "<answer>12</answer> 13", r"\boxed{12}", "12", "<answer>12<answer>", "12<|im_end|>13"):
        assert extract_answer(text) == extract_final_answer(text) == "12"
    assert extract_answer("#### 12") == "#### 12" and extract_final_answer("#### 12") == "12"


@pytest.mark.parametrize(
    "text, number",
    [
        ("12", Number(Fraction(12))),
        ("-1,234.50", Number(Fraction(-2469, 2))),
        ("3 1/2", Number(Fraction(7, 2))),
        ("50 %", Number(Fraction(50), percent=True)),
        ("5 cm", Number(Fraction(5), unit="cm")),
        ("5 centimeters", Number(Fraction(5), unit="cm")),
        ("5 square feet", Number(Fraction(5), unit="ft^2")),
        (r"5\text{ ft}^2", Number(Fraction(5), unit="ft^2")),
        ("5 kittens", Number(Fraction(5))),
        (r"5^\circ", Number(Fraction(5), unit="degree")),
        ("12,34", None),
        ("1,2345", None),
        ("1.2.3", None),
        ("3 7/2", None),
        ("1/0", None),
        ("5x", None),
        ("5 x", None),
        ("5m", None),
        ("5ab", None),
        ("5 million", Number(Fraction(5_000_000))),
        ("5 pairs of gloves", Number(Fraction(5), unit="pair")),
        ("5 grand", None),
        ("5 to 6", None),
        ("1e5", None),
        ("٣", None),
        ("", None),
        ("9" * 200, None),
    ],
)
def test_parse_number(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text, result",
    [
        (r"$\left(\dfrac{1}{2}\right)$.", r"(\frac{1}{2})"),
        (r"10\,000", "10,000"),
        (r"\mathrm{12}", "12"),
        ("**7**", "7"),
        ("The final answer is: 7.", "7"),
        ("π/2", r"\pi /2"),
        ("5 percent", "5%"),
        (r"a \\ b", r"a \\ b"),
    ],
)
def test_tidy(text, result):
    assert tidy(text) == result


def test_references_that_cannot_be_read_are_skipped():
    golds = ["", "  ", r"\begin{cases} x \\ y", "x" * 1000, r"\frac{", "3"]
    assert math_reward([r"\boxed{3}"] * 6, answer=golds) == [None] * 5 + [1]
    assert gsm8k_reward(["<answer>3</answer>"] * 4, answer=["", "three", "#### ", "#### 3"]) == [None] * 3 + [1]


def test_one_reward_per_completion():
    for reward in (gsm8k_reward, math_reward):
        assert reward(["1", "<answer>2</answer>"], answer=["1", "2"], nfe=[3, 4], trainer_state=None) == [1, 1]
        with pytest.raises(ValueError):
            reward(["1", "2"], answer=["1"])


def test_content_in_parts():
    parts = [{"type": "text", "text": "<answer>1"}, {"type": "image"}, {"type": "text", "text": "2</answer>"}]
    for content, score in ((parts, 1), (parts[:2], 0), ([{"type": "text"}], 0), ([None, "12"], 0)):
        assert gsm8k_score([{"role": "assistant", "content": content}], "12") == score


@pytest.mark.parametrize("completion", [None, 3, [], [{}], ["abc"], [{"role": "assistant", "content": None}], {}])
def test_malformed_completions_score_zero(completion):
    assert gsm8k_score(completion, "3") == math_score(completion, "3") == 0


# ---------------------------------------------------------------- hostile completions

HOSTILE = [
    "9**9**9",
    "9^{9^{9^9}}",
    "((9^{99})^{99})^{99}",
    "9" * 1_000_000,
    "1" * 4400,  # more digits than Python turns into a number
    "{" * 10_000,
    "{" * 10_000 + "7" + "}" * 10_000,
    r"\boxed{" * 3000,
    r"\frac{" * 10_000,
    r"\sqrt{" * 30 + "2" + "}" * 30,
    "(" * 100_000,
    "(" * 140 + "1" + ")" * 140,
    "<answer>" * 100_000,
    "<answer>1" + "\n " * 30_000 + "x",  # rows of a grid, or of nothing
    r"\boxed{1}," + " " * 30_000 + r"x\boxed{2}",
    "answer\n" * 20_000,
    "1," * 100_000,
    "x=" * 140 + "1",
    "x_" * 70 + "1",
    "|" * 150,
    "-" * 150 + "1",
    "(x+y+z+w)^{100}",
    "".join(f"(x+{i})" for i in range(25)),
    r"(1+\sqrt{2})^{100}",
    "100000000!",
    "x+(2^99999999)^99",  # digits without braces
    "x+2^10^10",
    r"\sum_{n=1}^{10^9} n",
    r"\int_0^1 x^x dx",
    r"\binom{10^9}{10^8}",
    "0." + "0" * 250 + "1",
    r"\begin{pmatrix}" * 15 + "1" + r"\end{pmatrix}" * 15,
    r"\pm" * 100,
    "#### " * 100_000,
    "answer is " * 100_000,
    "$" * 1_000_000,
    "\n" * 1_000_000,
    "\ud800" * 100,
    "__import__('os').system('true')",
]


@pytest.fixture(scope="module")
def warm():
    """math-verify is imported, and its parser has built its tables."""
    math_score(r"\boxed{\frac{x^{2}+1}{|y|} \cdot \sqrt{2}}", r"\sqrt{x}+y")


@pytest.mark.parametrize("gold", ["7", r"\sqrt{2}", "x+y+z+w", "x+2", "x^2+y^2=4", "1,2", r"\binom{12}{5}!", "n!"])
def test_hostile_text_scores_zero_at_once(gold, warm):
    for text in HOSTILE:
        for dressed in (text, rf"\boxed{{{text}}}", f"<answer>{text}</answer>"):
            started = time.process_time()
            assert math_score(dressed, gold) == 0, text[:50]
            assert gsm8k_score(dressed, "7") == 0, text[:50]
            # Milliseconds alone; what is to be noticed takes minutes.
            assert time.process_time() - started < 1, text[:50]


def test_towers_are_not_built():
    for expression in (
        "2^{3^4}",
        "2^3^4",
        "{2^3}^4 + 2^{x!}",
        "(2^{50})^{50}",
        "2^{999}",
        "2**3",
        "2^999999999",
        "2^10^10",
    ):
        assert not is_bounded(expression, "x!"), expression
    for expression in ("9999!", r"\binom{9999}{5000}", r"\sum_{n=1}^{9999} n"):
        assert not is_bounded(expression, r"13!+\binom{n}{2}+\sum n"), expression
    for expression in (r"x^{\frac{1}{2}}", "e^{2x}", "2^{98}", "x^2y^3z^4", "x^{-1}", "x^n", "x^10", "2^98x"):
        assert is_bounded(expression), expression


def test_outside_the_main_thread():
    scores = []
    threads = [
        threading.Thread(target=lambda: scores.append(math_score(r"\boxed{\sqrt{12}+x}", r"x+2\sqrt{3}"))),
        threading.Thread(target=lambda: scores.append(math_score(r"\boxed{\sqrt{13}+x}", r"x+2\sqrt{3}"))),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert scores == [1, 0]


# ---------------------------------------------------------------- where we differ from math-verify


@pytest.mark.parametrize(
    "gold, answer",
    [
        ("9", r"0.09"),
        (r"9\%", "0.09"),
        (r"\sqrt{2}", "1.414214"),
        (r"\sqrt{2}", "1.41421356237"),
        ("x + 1", "x^2 +* = 3x = x+1"),  # of which math-verify would read the end
        (r"25_8 + x", "25 + x"),
        (r"\frac{1}{3}", "0.333333"),
        ("(1,2)", "1,2"),
        ("25_8", "25"),
        ("x", "X"),
        ("x + 1", "2x = x + 1"),
        (r"\frac{1}{2}", r"\cos 60^\circ"),
    ],
)
def test_what_only_looks_alike(gold, answer):
    assert not equivalent(parse_gold(gold), parse_answer(answer))


# ---------------------------------------------------------------- formats and partial credit


@pytest.mark.parametrize(
    "text, scores",  # answer, reasoning, boxed
    [
        ("<answer>1</answer>", (1, 0, 0)),
        ("Because.\n<answer>\n1\n</answer>\n<|eot_id|>", (1, 0, 0)),
        ("<reasoning>\nBecause 1 < 2.\n\nSo.\n</reasoning>\n<answer>\n1\n</answer>", (0, 1, 0)),
        ("<reasoning>a</reasoning><answer>1</answer><|endoftext|>", (0, 1, 0)),
        ("Hm. <reasoning>a</reasoning><answer>1</answer>", (0, 0, 0)),
        ("<reasoning>a</reasoning> so <answer>1</answer>", (0, 0, 0)),
        ("<answer>1</answer><reasoning>a</reasoning>", (0, 0, 0)),
        ("<reasoning></reasoning><answer>1</answer>", (0, 0, 0)),
        ("<reasoning>a</reasoning><answer> </answer>", (0, 0, 0)),
        ("<reasoning>a</reasoning><answer>1", (0, 0, 0)),
        ("<answer>1</answer> or so", (0, 0, 0)),
        ("<answer>1</answer><answer>2</answer>", (0, 0, 0)),
        ("<answer></answer>", (0, 0, 0)),
        (r"So $\boxed{\frac{1}{2}}$.", (0, 0, 1)),
        (r"\boxed {5}", (0, 0, 1)),
        (r"\fbox{5}", (0, 0, 1)),
        (r"\boxed{5} and \fbox{6}", (0, 0, 0)),
        (r"\boxed{1} or \boxed{2}", (0, 0, 0)),
        (r"\boxed{}", (0, 0, 0)),
        (r"\boxed{1", (0, 0, 0)),
        ("1", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_formats(text, scores):
    rewards = (answer_format_reward, reasoning_format_reward, boxed_format_reward)
    assert tuple(reward([text], answer=["1"])[0] for reward in rewards) == scores
    message = [{"role": "assistant", "content": text}]
    assert tuple(reward([message])[0] for reward in rewards) == scores


@pytest.mark.parametrize(
    "text, score",
    [("3*4+5", 1), ("3+4+5", 1), ("<answer>5-3-4=17</answer>", 1), ("3*4", 0), ("17", 0), ("", 0), ("3+4+5+x", 0)],
)
def test_countdown_numbers(text, score):
    assert countdown_numbers_reward([text], numbers=[[3, 4, 5]], target=[17]) == [score]


def test_sudoku_cells():
    puzzle, solution = "123.3.1..1.34.2.", "1234341221434321"  # seven empty cells
    score = lambda text: sudoku_cells_reward([text], puzzle=[puzzle], solution=[solution])[0]  # noqa: E731
    assert score(solution) == 1
    assert score("1231341221434321") == pytest.approx(6 / 7)  # one of them wrong
    assert score("1231311121234121") == 0 or score("1231311121234121") < 1
    assert score("2234341221434321") == 0  # a clue changed
    assert score(solution[:-1]) == score("") == score("no") == 0
    assert sudoku_cells_reward([solution], puzzle=[solution], solution=[solution]) == [1]
