"""Marks of an answer in other languages, and the file with which a user adds some."""

from pathlib import Path

import pytest

from sftkey_data.extract.parts import AnswerType
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import AnswerMarks, answer_marks
from sftkey_eval.extraction.candidates import find_candidate
from sftkey_eval.kinds.grade import grade
from sftkey_eval.kinds.kind_table import KINDS

FOUR = ("1", "2", "3", "4")
COMMIT_TO_C = [
    "答案是C。",
    "选C",
    "故选C。",
    "正确答案：C",
    "正确答案是：C",
    "答案为（C）",
    "選擇 C",
    "答案是 C",
    "【答案】C",
    "【解析】略。【答案】C",
    "故选：C",
    "因此选项乙不对。所以答案是C。",
    "答案：C",
    "答案:C",
    "所以选C。",
    "因此，正确选项是C。",
    "答案是（C）。",
    "答案是Ｃ",
    "答案：（Ｃ）",
    "答案是C，因为A不对。",
    "本题选C。",
    "应选C",
    "综上，答案选C。",
    "正确的选项是C",
    "正确的是C",
    "所以C选项正确。",
    "C项正确，A项错误。",
    "A项错误，B项错误，C项正确，D项错误。",
    "因此，正确答案是 **C**。",
    "答案是选项C。",
    "故答案为C",
    "故答案为：C．",
    "最终答案\nC",
    "答案是\\boxed{C}",
    "答え：C",
    "答えはCです。",
    "正解はC",
    "正解は C です。",
    "答えは（C）です",
    "正解：C",
    "解答：C",
    "よって、Cが正解です。",
    "最終的な答えはCです",
    "정답은 C입니다",
    "정답: C",
    "정답은 C입니다.",
    "답: C",
    "답은 (C)입니다.",
    "정답은 C번입니다.",
    "ответ: C",
    "Ответ: C.",
    "Правильный ответ: C",
    "Правильный ответ — C.",
    "Правильный ответ C",
    "La réponse est C",
    "La réponse est C.",
    "La bonne réponse est (C).",
    "Réponse : C",
    "La réponse correcte est C.",
    "La respuesta es C",
    "La respuesta correcta es C.",
    "Respuesta: C",
    "La respuesta correcta es la opción C.",
    "Die Antwort ist C",
    "Die richtige Antwort ist C.",
    "Antwort: C",
    "Die Antwort lautet (C).",
    "A resposta é C",
    "A resposta correta é a letra C.",
    "Resposta: C",
    "Gabarito: C",
    "La risposta è C",
    "La risposta corretta è (C).",
    "Risposta: C",
    "الإجابة هي C",
    "الإجابة الصحيحة هي C.",
    "الجواب: C",
    "الإجابة: (C)",
    "उत्तर: C",
    "सही उत्तर C है",
    "सही उत्तर है C",
    "उत्तर है (C)।",
    "Đáp án: C",
    "Đáp án là C",
    "Đáp án đúng là C.",
    "Chọn C",
    "Het antwoord is C.",
    "Odpowiedź: C",
    "Prawidłowa odpowiedź to C.",
    "Cevap: C",
    "Jawaban: C",
    "Jawaban yang benar adalah C.",
    "คำตอบคือ C",
    "คำตอบ: C",
    "Η σωστή απάντηση είναι C.",
    "Svaret är C.",
    "Відповідь: C",
    "התשובה היא C",
    "La réponse est la C.",
    "Die Antwort ist nicht A, sondern C.",
    "答案不是A，而是C。",
    "答案是C，不是A。",
    "正确答案应该是C",
    "答案应为C。",
    "答案就是C。",
    "因此答案为 C.",
    "因此，正确答案是C选项。",
    "因此，答案选择C。",
    "答案应该选C。",
    "正确答案为（C）",
    "综上所述，选C。",
    "故本题选C",
    "所以，答案是：**C**",
    "答案是 (C) 3",
    "答案: C. 3",
    "答案是C. 3",
    "【答案】：C",
    "【答案】 C\n【解析】因为A不对",
    "答案：C\n解析：A错误",
    "所以正确选项为C",
    "本题答案为C",
    "本题正确答案是C。",
    "因此选择C",
    "选项C是正确的。",
    "选项C正确",
    "C是正确答案",
    "C 是正确的选项。",
    "正确答案是 C，A 和 B 都是错误的。",
    "答案是C，即3。",
    "答案是：C、3",
    "因此应该选择选项C。",
    "我选C",
    "这道题选C",
    "答案就是 C 。",
    "正解はＣです",
    "正解は(C)",
    "答えは「C」です。",
    "答えは C",
    "よって答えは C である。",
    "したがって、正解はCです。",
    "したがって正解は選択肢Cです。",
    "答えは、Cです。",
    "정답은 C",
    "따라서 정답은 C입니다.",
    "정답은 **C**입니다.",
    "답은 C이다.",
    "정답은 (C)이다",
    "Donc, la réponse est C.",
    "La réponse est donc C.",
    "La bonne réponse est la C.",
    "Réponse finale : C",
    "Par conséquent, la réponse correcte est : C",
    "La respuesta correcta es: C",
    "Por lo tanto, la respuesta es (C).",
    "La respuesta es C) 3",
    "La respuesta correcta es la C.",
    "La opción correcta es C.",
    "Die korrekte Antwort ist C.",
    "Die richtige Antwort lautet: C",
    "Also ist die Antwort C.",
    "Die Antwort ist also C.",
    "Antwort: (C)",
    "A resposta correta é C.",
    "A resposta correta é: C",
    "A alternativa correta é a letra C",
    "Portanto, a resposta é C.",
    "La risposta giusta è C.",
    "La risposta corretta è: C",
    "Pertanto, la risposta è C.",
    "Правильный ответ: (C).",
    "Ответ: **C**",
    "Правильным ответом является C.",
    "Таким образом, ответ — C.",
    "الإجابة الصحيحة هي: C",
    "إذن الإجابة هي (C).",
    "सही उत्तर: C",
    "सही उत्तर (C) है।",
    "उत्तर C है।",
    "Vậy đáp án là C.",
    "Đáp án đúng: C",
    "Câu trả lời là C.",
    "Đáp án C",
    "Jadi, jawabannya adalah C.",
    "Het juiste antwoord is C.",
    "Prawidłowa odpowiedź: C",
    "Doğru cevap: C",
    "Cevap C",
]
COMMIT_TO_NONE = [
    "答案不是C",
    "答案不是C。",
    "答案是A或C。",
    "答案是A和C",
    "答案：A、C",
    "答案是A或者C",
    "选A或C",
    "答案为AC",
    "正解はCではありません。",
    "答えはAまたはCです。",
    "정답은 C가 아닙니다.",
    "정답은 A 또는 C입니다.",
    "La réponse n'est pas C.",
    "La réponse est A ou C.",
    "La respuesta no es C.",
    "La respuesta es A o C.",
    "Die Antwort ist nicht C.",
    "Die Antwort ist A oder C.",
    "A resposta não é C.",
    "A resposta é A ou C.",
    "La risposta non è C.",
    "La risposta è A o C.",
    "Ответ: A или C",
    "Ответ: не C",
    "الإجابة ليست C",
    "الإجابة هي A أو C",
    "维生素C对人有益。",
    "C项错误。",
    "选项C错误。",
    "C选项不正确。",
    "答案是E。",
    "答案无法确定。",
    "Die Antwort ist unbekannt.",
    "答案：E。C项错误",
    "A和C都正确。",
    "答案是A或者B。",
    "答案可能是A或B。",
    "A和B都对。",
    "选A、B",
    "选AB",
    "答案是AB。",
    "选项A和C都正确",
    "不选C。",
    "不能选C",
    "答案不可能是C。",
    "排除C。",
    "排除C项。",
    "C错。",
    "C不正确。",
    "C项不对。",
    "C选项是错误的。",
    "正解はAかCです。",
    "正解はCではない。",
    "Cは間違いです。",
    "정답은 C가 아니다.",
    "정답은 A나 C입니다.",
    "정답은 A와 C입니다.",
    "La réponse n'est ni A ni C.",
    "La réponse est soit A soit C.",
    "La respuesta es A y C.",
    "La respuesta no puede ser C.",
    "La respuesta es tanto A como C.",
    "Die Antwort ist entweder A oder C.",
    "Die Antwort ist weder A noch C.",
    "Die Antwort ist A und C.",
    "La risposta è A e C.",
    "A resposta é A e C.",
    "Ответ: A и C.",
    "Ответ — не C.",
    "الجواب: A أو C",
    "सही उत्तर A या C है।",
    "उत्तर C नहीं है।",
    "Đáp án là A hoặc C.",
    "Đáp án không phải là C.",
    "Jawaban bukan C.",
    "Jawabannya A atau C.",
    "Het antwoord is niet C.",
    "Het antwoord is A of C.",
    "Odpowiedź to A lub C.",
    "Cevap A veya C.",
    "这是维生素C。",
    "血型是C型",
    "他在C国。",
    "C语言很好。",
]
FIVE = [
    "答案是5。",
    "答案：5",
    "答えは5です。",
    "정답은 5입니다.",
    "La réponse est 5.",
    "La respuesta es 5.",
    "Die Antwort ist 5.",
    "Ответ: 5",
    "答案是5，不是9。",
    "答案为５。",
    "La respuesta es 5 metros.",
    "答案是 $5$。",
    "最终答案是5个苹果。",
    "Đáp án là 5.",
    "उत्तर: 5",
]
NEITHER_FIVE_NOR_SIX = [
    "答案是5或6。",
    "答案不是5。",
    "La réponse est 5 ou 6.",
    "La respuesta no es 5.",
    "Die Antwort ist 5 oder 6.",
    "答えは5または6です。",
    "Die Antwort ist nicht 5.",
]
TRUTHS = [
    ("La réponse est oui.", "yes"),
    ("La réponse est non.", "no"),
    ("La respuesta es sí.", "yes"),
    ("La respuesta es no.", "no"),
    ("Die Antwort ist ja.", "yes"),
    ("Die Antwort ist nein.", "no"),
    ("答えは「はい」です。", "yes"),
    ("A resposta é não.", "no"),
    ("Ответ: нет", "no"),
    ("Ответ: да.", "yes"),
]


def right(
    answer_type: AnswerType, completion: str, golds: tuple[str, ...], marks: AnswerMarks | None = None
) -> list[str]:
    """The golds for which a completion is right."""
    choices = FOUR if answer_type == "choice" else None
    found = find_candidate(completion, KINDS[answer_type], Choices.of(choices), marks=marks)
    text = found.text if found else None
    return [gold for gold in golds if grade(gold, text, answer_type, choices=choices).verdict == "correct"]


@pytest.mark.parametrize("completion", COMMIT_TO_C)
def test_a_letter_behind_a_mark_of_any_language_is_found(completion: str) -> None:
    assert right("choice", completion, ("A", "B", "C", "D")) == ["C"]


@pytest.mark.parametrize("completion", COMMIT_TO_NONE)
def test_hedges_and_denials_of_any_language_are_understood(completion: str) -> None:
    assert right("choice", completion, ("A", "B", "C", "D")) == []


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize("completion", FIVE)
def test_a_number_behind_a_mark_of_any_language_is_found(completion: str, answer_type: AnswerType) -> None:
    assert right(answer_type, f"9.\n{completion}\n9", ("5", "9")) == ["5"]


@pytest.mark.parametrize("answer_type", ["number", "math"])
@pytest.mark.parametrize("completion", NEITHER_FIVE_NOR_SIX)
def test_a_number_that_is_hedged_or_denied_in_any_language_is_not_taken(
    completion: str, answer_type: AnswerType
) -> None:
    assert right(answer_type, completion, ("5", "6")) == []


@pytest.mark.parametrize(("completion", "truth"), TRUTHS, ids=[c[0] for c in TRUTHS])
def test_yes_and_no_of_other_languages_are_read_behind_their_marks(completion: str, truth: str) -> None:
    assert right("boolean", completion, ("yes", "no")) == [truth]


def test_an_answer_in_words_stays_in_its_language() -> None:
    assert right("text", "答案是北京或上海。", ("北京或上海",)) == ["北京或上海"]
    assert right("text", "La réponse est Paris.", ("Paris",)) == ["Paris"]


def test_a_users_file_adds_to_the_table(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[norwegian]\nanswer = ["fasit"]\nlinks = ["er"]\n[norwegian.english]\nor = ["eller"]\n'
        '[english]\nanswer = ["verdict"]\n',
        encoding="utf-8",
    )
    marks = answer_marks(mine)
    for completion in ("Fasit er C. Ikke A.", "The verdict is C. Not A.", "The answer is C. Not A."):
        assert right("choice", completion, ("A", "C"), marks) == ["C"]
    assert right("choice", "Fasit er B eller C.", ("B", "C"), marks) == []
    assert right("number", "Fasit er 5. 9", ("5", "9")) == ["9"]
    assert marks.digest != answer_marks().digest
    assert marks.added is not None
    assert list(marks.added) == ["norwegian", "english"]


SIZE = 300_000
HOSTILE = {
    "nouns": "答案" * (SIZE // 2),
    "links": "答案是" * (SIZE // 3),
    "words": "或和不是" * (SIZE // 4),
    "letters": "选C" * (SIZE // 2),
    "particles": "la respuesta no " * (SIZE // 16),
    "asides": "answer (in cm) " * (SIZE // 15),
    "denials": "not A or " * (SIZE // 9),
    "listed letters": "(A, " * (SIZE // 4),
    "mentions": "(A) x (B) y " * (SIZE // 12),
    "truths": "yes no " * (SIZE // 7),
    "doubts": "no doubt " * (SIZE // 9),
    "backslashes": "\\\\frac" * (SIZE // 6),
    "dollars": "$\\$" * (SIZE // 3),
    "bounds": "at least 7 " * (SIZE // 11),
    "parts": "4 hours 30 minutes " * (SIZE // 19),
    "equations": "x = 2 and " * (SIZE // 10),
}


@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("answer_type", ["number", "math", "choice", "boolean"])
def test_a_hostile_completion_is_read(answer_type: AnswerType, completion: str) -> None:
    found = find_candidate(completion, KINDS[answer_type], Choices.of(FOUR))  # not linear, it would not come back
    assert found is None or found.text
