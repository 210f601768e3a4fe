from dataclasses import dataclass

from sftkey_data.once import once


@dataclass(frozen=True)
class Text:
    text: str
    asked: list[str]

    @once
    def upper(self) -> str:
        """In capitals."""
        self.asked.append(self.text)
        return self.text.upper()


def test_a_value_is_worked_out_once_for_each_instance() -> None:
    asked: list[str] = []
    first, second = Text("a", asked), Text("b", asked)
    assert [first.upper, first.upper, second.upper, first.upper] == ["A", "A", "B", "A"]
    assert asked == ["a", "b"]


def test_it_is_no_part_of_the_value_and_keeps_its_words() -> None:
    asked: list[str] = []
    first, same = Text("a", asked), Text("a", asked)
    assert first.upper == "A"
    assert first == same
    assert Text.__dict__["upper"].__doc__ == "In capitals."
