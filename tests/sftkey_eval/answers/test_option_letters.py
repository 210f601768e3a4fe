import pytest

from sftkey_eval.answers.option_letters import Choices, find_options, letter_of_value, read_options, read_truth

CITIES = Choices(("Paris", "London", "12 cm", "E. coli"))


SPELLINGS = [
    *("B", "b", "(B)", "(b)", "[B]", "B.", "B)", "\\text{(B)}", "**B**", "$B$", "\\boxed{B}"),
    *("B. Paris", "B) Paris", "(B) Paris", "B: Paris", "Option B", "option (b)", "Answer: (B)", "The answer is B."),
]
TRUTHS = [
    ("Yes.", True),
    ("**true**", True),
    ("No, it is not.", False),
    ("FALSE", False),
    ("yes or no", None),
    ("yes/no", None),
    ("maybe", None),
    ("nobody", None),
    ("", None),
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_an_option_letter_is_read_in_every_spelling(text: str) -> None:
    assert read_options(text) == ("B",)


@pytest.mark.parametrize("text", ["A or B", "A, B", "A/B", "A and B", "(A)(B)", "(A) or (B)", "A. Paris or B. Rome"])
def test_a_hedged_choice_names_every_letter(text: str) -> None:
    assert read_options(text) == ("A", "B")


@pytest.mark.parametrize("text", ["Apple", "A cat", "I think so", "AB", "", "Paris", "42", "I don't know", "A" * 5_000])
def test_words_and_articles_name_no_option(text: str) -> None:
    assert read_options(text) == ()


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("London", ("B",)),
        ("$12$ cm", ("C",)),
        ("12", ("C",)),
        ("E. coli", ("D",)),
        ("A Paris", ("A",)),
        ("B. london", ("B",)),
        ("E", ()),
        ("Rome", ()),
    ],
)
def test_known_choices_are_named_by_their_text_too(text: str, letters: tuple[str, ...]) -> None:
    assert read_options(text, CITIES) == letters


def test_a_value_that_two_options_share_names_neither() -> None:
    assert letter_of_value("0.5", Choices(("1/2", "0.50", "2"))) is None
    assert letter_of_value("2.0", Choices(("1/2", "0.50", "2"))) == "C"


def test_running_text_names_options_only_where_it_marks_them() -> None:
    text = "A person has Vitamin C. Option B fails, (D) fits, **E** too; the answer is F"
    assert [letter for _, letter in find_options(text)] == ["B", "D", "E", "F"]
    assert [letter for _, letter in find_options(text, CITIES)] == ["B", "D"]


@pytest.mark.parametrize(("text", "truth"), TRUTHS)
def test_a_truth_value_is_the_first_word_unless_it_is_hedged(text: str, truth: bool | None) -> None:
    assert read_truth(text) is truth
