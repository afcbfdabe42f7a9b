"""A message is read by people: however long what it quotes, it ends."""

from __future__ import annotations

from emoe_audit.errors import LONGEST, AuditError


def test_of_a_message_that_nobody_would_read_the_middle_is_left_out() -> None:
    said = str(AuditError(f"here: {'x' * 100_000} is no number"))
    assert said.startswith("here: xxx") and said.endswith("xxx is no number")
    assert len(said) <= LONGEST + 5


def test_a_message_of_usual_length_is_whole() -> None:
    assert str(AuditError("file.csv:3: the prompt is empty")) == "file.csv:3: the prompt is empty"
