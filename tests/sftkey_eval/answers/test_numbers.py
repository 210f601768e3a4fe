from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_eval.answers.numbers import MAX_NUMBER_CHARS, Number, find_numbers, read_number

HALF = Fraction(1, 2)

READ = {
    "7": Fraction(7),
    "+5": Fraction(5),
    "- 5": Fraction(-5),
    "−5": Fraction(-5),
    "3.0": Fraction(3),
    ".5": HALF,
    "5.": Fraction(5),
    "0.1": Fraction(1, 10),
    "1,234": Fraction(1234),
    "1 234 567.5": Fraction(12345675, 10),
    "12,\\! 345": Fraction(12345),
    "14 {, }916": Fraction(14916),
    "12,345,678.9": Fraction(123456789, 10),
    "1{,}234": Fraction(1234),
    "10,\\!000": Fraction(10_000),
    "1\\,234": Fraction(1234),
    "1/2": HALF,
    "-1/2": -HALF,
    "1/-2": -HALF,
    "\\frac{1}{2}": HALF,
    "\\dfrac12": HALF,
    "\\tfrac 12": HALF,
    "\\frac1{20}": Fraction(1, 20),
    "\\frac{-2}{3}": Fraction(-2, 3),
    "-\\frac{2}{3}": Fraction(-2, 3),
    "\\frac{1,000}{3}": Fraction(1000, 3),
    "1\\frac{3}{4}": Fraction(7, 4),
    "1 3/4": Fraction(7, 4),
    "-1\\frac34": Fraction(-7, 4),
    "½": HALF,
    "1½": Fraction(3, 2),
    "1e3": Fraction(1000),
    "1.5E-3": Fraction(15, 10_000),
    "1.5\\times10^3": Fraction(1500),
    "1.5 × 10^{-3}": Fraction(15, 10_000),
    "10^{4}": Fraction(10_000),
    "１２３": Fraction(123),
    "٤٢": Fraction(42),
    "٣٫٥": Fraction(7, 2),
    "$18$": Fraction(18),
    "\\boxed{\\text{18}}": Fraction(18),
    "**18**.": Fraction(18),
    "((18))": Fraction(18),
    "-(2/3)": Fraction(-2, 3),
    "5 million": Fraction(5_000_000),
    "2 dozen": Fraction(24),
}


@pytest.mark.parametrize("text", READ)
def test_a_number_is_read_exactly_in_every_spelling(text: str) -> None:
    assert read_number(text) == Number(READ[text])


NOT_NUMBERS = {
    "words": "Friday",
    "empty": "",
    "groups of four": "1,2345",
    "groups of two": "12,34,56",
    "a leading zero in groups": "0,123",
    "a plain space in digits": "12 34",
    "zero below": "1/0",
    "two signs": "--5",
    "sign on both sides of the currency": "-$-5",
    "an improper mixed number": "2\\frac{7}{4}",
    "a list": "1, 2",
    "a ratio": "3:4",
    "a base": "1011_2",
    "a factorial": "5!",
    "a power": "2^3",
    "a tower": "10^{10^{10}}",
    "a huge exponent": "1e999999999",
    "a product": "5x",
    "a spaced variable": "5 x",
    "pi": "2\\pi",
    "an operation in words": "5 squared",
    "a time": "10:00",
    "a date": "12/5/2020",
    "two numbers": "3 or 4",
    "not a number": "nan",
    "infinity": "\\infty",
    "a call": "__import__('os').getpid()",
    "an unclosed fraction": "\\frac{1}{2",
    "too many digits": "9" * (MAX_NUMBER_CHARS + 1),
}


@pytest.mark.parametrize("text", NOT_NUMBERS.values(), ids=NOT_NUMBERS.keys())
def test_what_is_not_a_whole_number_text_is_not_read(text: str) -> None:
    assert read_number(text) is None


UNITS = {
    "$18": "$",
    "18 dollars": "$",
    "-\\$18.50": "$",
    "US$ 18": "$",
    "€18": "€",
    "10\\text{ cm}": "cm",
    "10 centimeters": "cm",
    "10cm": "cm",
    "5 \\text{ m}^2": "m^2",
    "5 square meters": "m^2",
    "20 mph": "mi/h",
    "20 miles per hour": "mi/h",
    "90^\\circ": "degree",
    "90°": "degree",
    "3 red apples": "red apple",
    "1 egg": "egg",
}


@pytest.mark.parametrize("text", UNITS)
def test_a_unit_has_one_name_however_it_is_written(text: str) -> None:
    number = read_number(text)
    assert number is not None
    assert number.unit == UNITS[text]


@pytest.mark.parametrize("text", ["50%", "50\\%", "50 percent", "50 per cent", "５０％"])
def test_a_percentage_keeps_the_value_as_written(text: str) -> None:
    assert read_number(text) == Number(Fraction(50), percent=True)


def test_an_assignment_names_its_variable() -> None:
    assert read_number("x = 5") == Number(Fraction(5), variable="x")


@given(st.integers(), st.sampled_from(["{:,}", "{}", "${:,}", "  {}. ", "\\boxed{{{:,}}}", "$ {} $"]))
def test_an_integer_reads_back_from_every_layout(n: int, layout: str) -> None:
    number = read_number(layout.format(n))
    assert number is not None
    assert number.value == n


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_reads_back_without_rounding(value: object) -> None:
    number = read_number(f"{value:f}")
    assert number is not None
    assert number.value == Fraction(str(value))


@given(st.text(alphabet="0123456789.,/%$-+eE^{}()\\ fractimes½x=٤", max_size=40))
def test_reading_never_raises(text: str) -> None:
    read_number(text)
    list(find_numbers(text))


RUNNING = {
    "between 3-5 cats": ["3", "5"],
    "-4 and x = -7 and 9 -2": ["-4", "-7", "9", "-2"],
    "$1,234.50, not 1,2345": ["$1,234.50", "1", "2345"],
    "\\frac{1}{2} of 3/4 and 1 1/2": ["\\frac{1}{2}", "3/4", "1 1/2"],
    "2^3 and x_2 and a_{12} and H2O": ["2"],
    "the 3rd of 4": ["4"],
    "50\\% or 1.5e3 or 2 \\times 10^{5}": ["50\\%", "1.5e3", "2 \\times 10^{5}"],
    "is 18...": ["18"],
    "<<13*2=26>>26": ["13", "2", "26", "26"],
    "70{,}000, 1{,}234{,}567.5 or 12\\,500": ["70{,}000", "1{,}234{,}567.5", "12\\,500"],
    "70 000 and 1\u202f234\u202f567": ["70 000", "1\u202f234\u202f567"],
    "0 500 600": ["0", "500", "600"],
    "in 2019 1,234 of 10 people": ["2019", "1,234", "10"],
    "1 200 300 4 and 1 2000 and 0 500": ["1", "200", "300", "4", "1", "2000", "0", "500"],
}


@pytest.mark.parametrize("text", RUNNING)
def test_numbers_in_running_text_are_found_without_their_surroundings(text: str) -> None:
    assert [found.group() for found in find_numbers(text)] == RUNNING[text]
