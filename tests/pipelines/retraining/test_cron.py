"""Cron expressions as robfig/cron reads them, and in the zone of a schedule on a server in UTC."""

from datetime import UTC, datetime, timedelta

import pytest

from kfp_vision.pipelines.retraining.cron import missed_time, read_cron, read_zone, server_cron
from kfp_vision.pipelines.retraining.triggers import CREATED_AT, LocalTime


# The rows of six fields in spec_test.go of github.com/robfig/cron, v1.2.0.
@pytest.mark.parametrize(
    ("at", "text", "expected"),
    [
        ("2012-07-15 08:30", "0 30 08 ? Jul Sun", True),
        ("2012-07-15 08:30", "0 30 08 15 Jul ?", True),
        ("2012-07-16 08:30", "0 30 08 ? Jul Sun", False),
        ("2012-07-16 08:30", "0 30 08 15 Jul ?", False),
        ("2012-07-15 00:00", "0 * * 1,15 * Sun", True),
        ("2012-06-15 00:00", "0 * * 1,15 * Sun", True),
        ("2012-08-01 00:00", "0 * * 1,15 * Sun", True),
        ("2012-07-15 00:00", "0 * * * * Mon", False),
        ("2012-07-15 00:00", "0 * * */10 * Sun", False),
        ("2012-07-09 00:00", "0 * * 1,15 * *", False),
        ("2012-07-15 00:00", "0 * * 1,15 * *", True),
        ("2012-07-15 00:00", "0 * * */2 * Sun", True),
        # Of five fields there, whose last one, the weekday, is left out.
        ("2012-07-09 15:45", "0 0/15 * * * *", True),
        ("2012-07-09 15:40", "0 0/15 * * * *", False),
        ("2012-07-09 15:50", "0 5/15 * * * *", True),
        ("2012-07-15 15:00", "0 0/15 * * Jun *", False),
    ],
)
def test_an_expression_means_what_it_means_on_the_server(at, text, expected):
    assert read_cron(text).matches(datetime.fromisoformat(at)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        *("0 3 * * *", "@daily", "", "0 60 * * * *", "0 0 24 * * *", "0 0 0 0 * *"),
        *("0 0 0 * 13 *", "0 0 0 * * 7", "0 0 5-3 * * *", "0 */0 * * * *", "0 a * * * *"),
        *("0 , * * * *", "0 1-2-3 * * * *", "CRON_TZ=UTC 0 0 3 * * *"),
    ],
)
def test_what_the_server_would_refuse_is_refused(wrong):
    with pytest.raises(ValueError, match="`cron` must"):
        read_cron(wrong)


# Both changes of the clock of a year, the end of a month and of the year.
PERIODS = [("2026-03-20", 20), ("2026-10-22", 14), ("2026-12-28", 6)]


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Berlin", "0 0 3 * * *"),
        ("Europe/Berlin", "0 30 0 1 * ?"),
        ("Europe/Berlin", "0 15,45 23-23 * * mon-fri"),
        ("America/New_York", "0 0 22 * * sat"),
        ("Asia/Kolkata", "0 10/20 4-6 * 3-12 *"),
        ("Australia/Lord_Howe", "0 0 6,18 1,15 * sun"),
        ("UTC", "0 0 3 * * *"),
    ],
)
def test_the_times_of_the_server_that_are_due_are_those_of_the_zone(zone, text):
    zone, cron = read_zone(zone), read_cron(text)
    seen = 0
    for start, days in PERIODS:
        first = datetime.fromisoformat(start).replace(tzinfo=UTC)
        served = read_cron(server_cron(text, zone, first))
        # All expressions name minutes that five divides.
        for number in range(0, days * 24 * 60, 5):
            minute = first + timedelta(minutes=number)
            wanted = cron.matches(minute.astimezone(zone))
            seen += wanted
            if served.matches(minute):
                # The server makes the run a while later.
                missed = missed_time(text, zone, minute + timedelta(seconds=100))
                assert missed == (None if wanted else minute)
            else:
                assert not wanted, minute
    assert seen >= 3


def test_a_run_that_was_made_at_no_time_of_the_server_has_missed_none():
    zone, text = read_zone("Europe/Berlin"), "0 0 3 * * *"
    summer = datetime(2026, 7, 1, 2, 0, 30, tzinfo=UTC)
    assert missed_time(text, zone, summer) == datetime(2026, 7, 1, 2, tzinfo=UTC)
    # A clone at noon, and one that had to wait for the run before it.
    for minutes in (11, 600):
        assert missed_time(text, zone, summer + timedelta(minutes=minutes)) is None


def test_the_time_of_a_run_is_that_of_the_server():
    now = datetime(2026, 11, 27, 3, tzinfo=UTC)
    made = LocalTime("", "", "20260701020003").created(now)
    assert made == datetime(2026, 7, 1, 2, 0, 3, tzinfo=UTC)
    # By a server that does not know it, and by hand.
    for text in (CREATED_AT, ""):
        assert LocalTime("", "", text).created(now) == now


def test_a_server_is_asked_at_the_hours_of_summer_and_winter():
    at = datetime(2026, 11, 27, tzinfo=UTC)
    assert server_cron("0 0 3 * * *", read_zone("Europe/Berlin"), at) == "0 0 1,2 * * *"
    assert server_cron("0 0 3 * * mon", read_zone("UTC"), at) == "0 0 3 * * mon"
    assert server_cron("0 0 0 1 * ?", read_zone("Asia/Tokyo"), at) == "0 0 15 * * *"


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "Europe"])
def test_a_zone_that_there_is_not_is_refused(name):
    with pytest.raises(ValueError, match="time_zone"):
        read_zone(name)
