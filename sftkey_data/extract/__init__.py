"""What an extractor receives and returns, for built-in datasets and users' files alike: a row in, parts out."""

from sftkey_data.extract.parts import ANSWER_TYPES, AnswerType, Parts, Reject, Row, text

__all__ = ["ANSWER_TYPES", "AnswerType", "Parts", "Reject", "Row", "text"]
