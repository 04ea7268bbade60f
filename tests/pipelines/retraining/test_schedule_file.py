"""The YAML file of a schedule: what it says is read, and what nobody knows is refused."""

import re

import pytest

from kfp_vision.pipelines.retraining.schedule_file import read_schedules

TEXT = """
name: photos
cron: "0 0 3 * * *"
time_zone: Europe/Berlin
triggers: {min_new_share: 0.05, max_age_days: 30}
parameters:
  dataset_uri: s3://team/photos
  output_uri: s3://team/out
  champion_uri: s3://team/champions
  learning_rate: 1e-3
  task: auto
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "schedule.yaml"
        path.write_text(text)
        return read_schedules(path)

    return read


def test_types_are_those_of_params_yaml(read):
    first, second = read(TEXT + "---" + TEXT.replace("photos", "birds", 1))
    assert (first.name, second.name) == ("photos", "birds")
    # YAML 1.1 takes 1e-3 for text.
    assert first.parameters.learning_rate == 0.001
    assert (first.triggers.min_new_share, first.triggers.max_age_days) == (0.05, 30.0)
    assert first.enabled


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cron:", "corn:", "'corn'. Did you mean cron"),
        ("min_new_share", "min_new_shares", "Did you mean min_new_share"),
        ("output_uri:", "output_url:", "Did you mean output_uri"),
        ('"0 0 3 * * *"', '"0 3 * * *"', "six fields"),
        ("Europe/Berlin", "Berlin", "IANA"),
        ("0.05", "5", "from 0 to 1"),
        ("  champion_uri: s3://team/champions\n", "", "must have `champion_uri`"),
        ("name: photos", "name: ''", "`name` must be set"),
        ("name: photos\n", "", "must have ['name']"),
        ("cron:", "name: b\ncron:", "A key must be set once"),
        ("task: auto", "task: [auto]", "`task` must be of type str"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_file(read, old, new, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        read(TEXT.replace(old, new, 1))
    assert "schedule.yaml" in str(refusal.value)


def test_two_schedules_of_one_name_are_refused(read):
    with pytest.raises(ValueError, match="names of their own"):
        read(TEXT + "---" + TEXT)


@pytest.mark.parametrize("text", ["", "# nothing", "- a list", "{", "text"])
def test_a_file_without_a_schedule_is_refused(read, text):
    with pytest.raises(ValueError, match=r"schedule\.yaml"):
        read(text)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("profile", "profile: gke"),
        ("registry", "registry: ghcr.io/team"),
        ("secret", "secret: storage"),
        ("trial_workers", "  trial_workers: 4"),
        ("teacher_workers", "  teacher_workers: 2"),
    ],
)
def test_what_a_published_version_was_compiled_with_is_not_set_anew(read, name, line):
    text = TEXT.lstrip() + f"{line}\n"
    assert read(text)
    with pytest.raises(ValueError, match=f"compiled already.*version='1' and {name}"):
        read(f"version: '1'\n{text}")
