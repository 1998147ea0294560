"""How problems are shown: each on its line, in the order of the lines."""

from __future__ import annotations

import pytest

from skerry.kit.errors import Problem, ProblemsError, Severity


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        (Problem("a.yaml", 3, "no such key"), "a.yaml:3: error: no such key"),
        (Problem("a.yaml", None, "empty"), "a.yaml: error: empty"),
        (Problem("a.yaml", 1, "odd", "write b"), "a.yaml:1: error: odd (write b)"),
        (Problem("a.yaml", 1, "odd", severity=Severity.WARNING), "a.yaml:1: warning: odd"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, shown: str) -> None:
    assert str(problem) == shown


def test_problems_come_in_the_order_of_lines() -> None:
    error = ProblemsError("a.yaml is refused", [Problem("a.yaml", 9, "late"), Problem("a.yaml", 2, "soon")])
    assert error.message == (
        "a.yaml is refused: 2 problems\n  a.yaml:2: error: soon\n  a.yaml:9: error: late"
    )


def test_one_problem_is_not_problems() -> None:
    assert ProblemsError("a", [Problem("a", None, "b")]).message.startswith("a: 1 problem\n")
