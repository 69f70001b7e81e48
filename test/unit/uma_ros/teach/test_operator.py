"""One page has control. A silent or closed one loses the robot, and a foreign sign of life counts for nothing."""

from uma_ros.teach.operator import Operators


def two() -> Operators:
    operators = Operators()
    operators.join(0, "a")
    operators.join(1, "b")
    return operators


def test_the_first_page_has_control_and_the_second_takes_it():
    operators = two()
    assert operators.is_operator(0) and not operators.is_operator(1)
    assert operators.take(1)
    assert operators.is_operator(1) and not operators.is_operator(0)


def test_nobody_is_operator_without_a_page():
    operators = Operators()
    assert not operators.is_operator(None) and not operators.is_operator(0) and operators.operator is None
    assert not operators.take(3)


def test_control_is_not_inherited():
    operators = two()
    assert operators.leave(0) and operators.operator is None and operators.count == 1
    assert not operators.is_operator(1)


def test_only_the_operators_sign_of_life_counts():
    operators = two()
    assert operators.silence(5.0) == float("inf")
    assert operators.alive("a", 5.0) and not operators.alive("b", 5.1) and not operators.alive("unknown", 5.1)
    assert operators.silence(5.75) == 0.75
    operators.take(1)
    assert operators.alive("b", 6.0) and not operators.alive("a", 6.0)


def test_silence_is_endless_after_the_operator_left():
    operators = two()
    operators.alive("a", 5.0)
    operators.leave(0)
    assert operators.silence(5.1) == float("inf")
