"""Champion and history: what leads to which champion, and that nothing is lost or made up."""

import json

import pytest

from kfp_vision.components.shared.champions.history import Champions, Entry, parse_champions


def after(*events):
    champions = Champions()
    for number, (kind, version) in enumerate(events):
        champions = champions.with_entry(Entry(str(number), kind, version, "test"))
    return champions


P, K, R = "promoted", "kept", "rolled_back"


@pytest.mark.parametrize(
    ("events", "champion", "previous"),
    [
        ([], "", ""),
        ([(K, "a")], "", ""),
        ([(P, "a")], "a", ""),
        ([(P, "a"), (K, "b")], "a", ""),
        ([(P, "a"), (P, "b")], "b", "a"),
        ([(P, "a"), (P, "b"), (R, "b")], "a", ""),
        ([(P, "a"), (P, "b"), (R, "b"), (P, "c")], "c", "a"),
        ([(P, "a"), (P, "b"), (P, "a")], "a", "b"),
        ([(P, "a"), (P, "b"), (P, "a"), (R, "a")], "b", "a"),
    ],
)
def test_a_rollback_takes_the_uppermost_promotion_away(events, champion, previous):
    champions = after(*events)
    assert (champions.champion, champions.previous) == (champion, previous)
    assert [(each.kind, each.version) for each in champions.history] == events
    assert parse_champions(champions.to_json(), "uri") == champions


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(R, "a")], "needs a champion and one before"),
        ([(P, "a"), (R, "a")], "needs a champion and one before"),
        ([(P, "a"), (P, "b"), (R, "a")], "needs a champion and one before"),
        ([(P, "a"), (P, "a")], "must not be the champion"),
    ],
)
def test_what_means_nothing_is_refused(events, message):
    with pytest.raises(ValueError, match=message):
        after(*events)


def test_the_last_entry_of_a_version():
    champions = after((K, "a"), (P, "b"), (P, "a"))
    assert champions.last_entry("a").kind == P
    assert champions.last_entry("c") is None


def test_a_file_changed_by_hand_is_refused():
    content = json.loads(after((P, "a"), (P, "b")).to_json())
    changes = [
        {**content, "champion": "a"},
        {**content, "format": 2},
        {"champion": "b"},
        {**content, "history": [{"at": "0", "kind": "rolled_back", "version": "a", "reason": ""}]},
        {**content, "history": [{"at": "0", "kind": "crowned", "version": "a", "reason": ""}]},
        [],
    ]
    for changed in changes:
        with pytest.raises(ValueError, match=r"must be written by kfp-vision.*Received: 'uri'"):
            parse_champions(json.dumps(changed).encode(), "uri")
    with pytest.raises(ValueError, match="must be written by kfp-vision"):
        parse_champions(b"", "uri")


def test_no_file_is_no_champion():
    assert parse_champions(None, "uri") == Champions()
