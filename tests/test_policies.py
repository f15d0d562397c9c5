"""When to try again, and when to stop trying."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.policies import Quarantine, Restart, RestartPolicy, RetryPolicy

CHANCES = st.floats(0, 1, exclude_max=True)
EXPONENTIAL = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 200),
    delay=st.floats(0, 1000),
    rate=st.floats(1, 1000),
    cap=st.floats(0.001, 1e6),
)
FIXED = st.builds(
    RetryPolicy, max_retries=st.integers(0, 200), kind=st.just("fixed"), delay=st.floats(0, 1000)
)


@given(EXPONENTIAL | FIXED, st.integers(1, 300), CHANCES)
def test_there_is_no_wait_exactly_after_the_last_attempt(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    assert (policy.wait_after(attempt, chance) is None) == (attempt > policy.max_retries)
    assert policy.attempts == policy.max_retries + 1


@given(EXPONENTIAL, st.integers(1, 200), CHANCES)
def test_a_wait_is_never_negative_and_never_over_the_cap(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    wait = policy.wait_after(attempt, chance)
    assert wait is None or 0 <= wait <= policy.cap


@given(EXPONENTIAL, CHANCES)
def test_waits_never_get_shorter_but_for_the_spread(policy: RetryPolicy, chance: float) -> None:
    waits = [policy.wait_after(attempt, chance) for attempt in range(1, policy.attempts)]
    known = [wait for wait in waits if wait is not None]
    assert known == sorted(known)
    assert len(known) == policy.max_retries


@given(EXPONENTIAL, st.integers(1, 20), CHANCES)
def test_the_spread_is_a_quarter_to_either_side(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    wait = policy.wait_after(attempt, chance)
    if wait is not None and wait < policy.cap:
        exact = policy.delay * policy.rate ** (attempt - 1)
        assert exact * 0.75 <= wait <= exact * 1.25


@given(FIXED, st.integers(1, 200), CHANCES)
def test_a_fixed_backoff_waits_the_same_every_time(
    policy: RetryPolicy, attempt: int, chance: float
) -> None:
    assert policy.wait_after(attempt, chance) in {policy.delay, None}


def test_the_default_is_three_retries_after_about_1_2_and_4_seconds() -> None:
    policy = RetryPolicy()
    assert [policy.wait_after(n, 0.5) for n in range(1, 5)] == [1, 2, 4, None]


def test_a_steep_rate_and_a_long_chain_do_not_overflow() -> None:
    policy = RetryPolicy(max_retries=100, rate=1e5)
    assert policy.wait_after(70, 0.5) == policy.cap


@pytest.mark.parametrize(
    "fields",
    [
        {"max_retries": -1},
        {"kind": "linear"},
        {"delay": -1},
        {"rate": 0.5},
        {"cap": 0},
    ],
)
def test_a_retry_policy_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        RetryPolicy(**fields)


# restarts

POLICIES = st.builds(
    RestartPolicy,
    max_restarts=st.integers(0, 8),
    window=st.floats(0.1, 100),
    delay=st.floats(0, 10),
    cool_down=st.floats(0.1, 1000),
    cool_down_cap=st.floats(0.1, 1000),
)
TIMES = st.lists(st.floats(0, 200), min_size=1, max_size=12).map(sorted)


@given(POLICIES, TIMES, st.integers(0, 100))
def test_a_crash_restarts_while_the_intensity_allows_and_quarantines_past_it(
    policy: RestartPolicy, crashes: list[float], failed_probes: int
) -> None:
    recent = sum(1 for at in crashes if at > crashes[-1] - policy.window)
    verdict = policy.after_crash(crashes, failed_probes, was_probe=False)
    assert isinstance(verdict, Restart) == (recent <= policy.max_restarts)


@given(POLICIES, TIMES)
def test_restarts_wait_twice_as_long_each_time(policy: RestartPolicy, crashes: list[float]) -> None:
    verdict = policy.after_crash(crashes, 0, was_probe=False)
    if isinstance(verdict, Restart):
        recent = sum(1 for at in crashes if at > crashes[-1] - policy.window)
        assert verdict.wait == policy.delay * 2 ** (recent - 1)


@given(POLICIES, TIMES, st.integers(0, 2000))
def test_a_failed_probe_goes_back_to_quarantine_whatever_the_intensity(
    policy: RestartPolicy, crashes: list[float], failed_probes: int
) -> None:
    verdict = policy.after_crash(crashes, failed_probes, was_probe=True)
    assert isinstance(verdict, Quarantine)
    assert 0 < verdict.cool_down <= policy.cool_down_cap


@given(POLICIES)
def test_the_cool_down_doubles_with_each_failed_probe_up_to_its_cap(policy: RestartPolicy) -> None:
    downs = [policy.after_crash([0.0], n, was_probe=True) for n in range(12)]
    expected = [min(policy.cool_down_cap, policy.cool_down * 2**n) for n in range(12)]
    assert [down.cool_down for down in downs if isinstance(down, Quarantine)] == expected


@given(POLICIES, TIMES, st.integers(0, 10), st.booleans())
def test_decisions_are_finite_and_not_negative(
    policy: RestartPolicy,
    crashes: list[float],
    failed_probes: int,
    was_probe: bool,  # noqa: FBT001
) -> None:
    verdict = policy.after_crash(crashes, failed_probes, was_probe=was_probe)
    wait = verdict.wait if isinstance(verdict, Restart) else verdict.cool_down
    assert math.isfinite(wait)
    assert wait >= 0


def test_a_policy_that_allows_very_many_restarts_does_not_overflow() -> None:
    policy = RestartPolicy(max_restarts=5000, window=3600.0, delay=0.0)
    assert policy.after_crash([float(n) for n in range(2000)], 0, was_probe=False) == Restart(0)


@pytest.mark.parametrize(
    "fields",
    [{"max_restarts": -1}, {"window": 0}, {"delay": -1}, {"cool_down": 0}, {"cool_down_cap": 0}],
)
def test_a_restart_policy_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        RestartPolicy(**fields)
