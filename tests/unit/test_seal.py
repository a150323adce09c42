"""A log is sealed only when all stages agree on what was passed on."""

from __future__ import annotations

import copy

import pytest

from capsule.seal import AGREEMENTS, disagreements

AGREED = {
    "tracer": {"lines": 9, "bytes": 900},
    "parser": {"lines_in": 9, "bytes_in": 900, "events": 7},
    "enricher": {"events_in": 7, "events_out": 7},
    "aggregator": {"events_in": 7, "counted": 7, "actions_out": 4},
    "logger": {"in": 4, "count": 7},
}


def test_equal_counters_agree() -> None:
    assert disagreements(AGREED) == []


@pytest.mark.parametrize("pair", AGREEMENTS, ids=lambda pair: f"{pair[0][0]}-{pair[1][0]}")
def test_every_pair_is_checked(pair: tuple[tuple[str, str], tuple[str, str]]) -> None:
    for stage, counter in pair:
        changed = copy.deepcopy(AGREED)
        changed[stage][counter] += 1
        assert disagreements(changed)
        del changed[stage][counter]
        assert disagreements(changed)


def test_a_disagreement_names_both_sides() -> None:
    changed = copy.deepcopy(AGREED)
    changed["parser"]["lines_in"] = 8
    assert disagreements(changed) == ["tracer lines 9, parser lines_in 8"]
