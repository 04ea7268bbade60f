"""`schedule apply | list | delete` against a server that answers as the real one does."""

import pytest
import yaml
from http_answers import serving
from kfp_server import KfpServer

from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.profile import Profile

NEW = """
name: photos
cron: "0 0 3 * * *"
triggers: {min_new_share: 0.05}
parameters:
  dataset_uri: s3://team/photos
  output_uri: s3://team/out
  champion_uri: s3://team/champions
"""
# Of a version that is there: nothing is compiled.
SCHEDULE = NEW + "version: '1'\n"


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(path, Profile(), trial_workers=1, scheduled=True)
    spec, platform = yaml.safe_load_all(path.read_text())
    return {
        "pipeline_id": "pipeline-0",
        "pipeline_version_id": "version-0",
        "display_name": "1",
        "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
    }


@pytest.fixture
def server(version):
    server = KfpServer(pipelines={"kfp-vision-retraining": "pipeline-0"}, versions={"1": version})
    with serving(server) as host:
        server.host = host
        yield server
    assert server.refused == []


@pytest.fixture
def schedule(server, kfp_vision_here, tmp_path):
    """Runs a command on a file with this text; returns what it prints."""
    path = tmp_path / "schedule.yaml"

    def run(action, text=SCHEDULE, code=0):
        path.write_text(text)
        files = [] if action == "list" else [path]
        answer = kfp_vision_here("schedule", action, *files, "--host", server.host)
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    return run


def changes(server):
    return [each for each in server.requests if not each.startswith("GET")]


def test_applied_twice_nothing_changes(server, schedule):
    assert schedule("apply", NEW) == "photos: created\n"
    (made,) = server.recurring.values()
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("1", True, "ENABLE")
    parameters = made["runtime_config"]["parameters"]
    assert parameters["min_new_share"] == 0.05
    assert parameters["checkpoint_uri"] == "s3://team/out/checkpoints"
    # The pipeline of this package was published, and is pinned by its ID.
    assert len(server.versions) == 2
    assert made["pipeline_version_reference"]["pipeline_version_id"] == "version-1"
    server.requests.clear()
    assert schedule("apply", NEW) == "photos: unchanged\n"
    assert changes(server) == []
    assert "photos" in schedule("list")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0 0 3", "0 0 4"),
        ("0.05", "0.06"),
        ("s3://team/out", "s3://team/other"),
        ("name: photos", "name: photos\nenabled: false"),
        ("name: photos", "name: photos\ntime_zone: Europe/Berlin"),
        ("name: photos", "name: photos\nexperiment: others"),
    ],
)
def test_what_differs_is_made_anew_and_the_old_one_deleted(server, schedule, old, new):
    schedule("apply")
    (before,) = server.recurring
    text = SCHEDULE.replace(old, new)
    assert schedule("apply", text) == "photos: replaced\n"
    (after,) = server.recurring
    assert after != before
    # Its runs go on.
    assert server.deleted == {before: "ORPHAN"}
    assert schedule("apply", text) == "photos: unchanged\n"


def test_a_run_under_way_of_the_one_before_is_named(server, schedule):
    schedule("apply")
    (before,) = server.recurring
    server.runs = [
        {"run_id": name, "recurring_run_id": recurring, "state": state}
        for name, recurring, state in (
            ("run-3", before, "RUNNING"),
            ("run-2", "other", "RUNNING"),
            ("run-1", before, "SUCCEEDED"),
        )
    ]
    replaced, named = schedule("apply", SCHEDULE.replace("0.05", "0.06")).splitlines()
    assert replaced == "photos: replaced"
    assert "run run-3 of the schedule before goes on" in named
    assert "`kfp-vision cancel run-3`" in named


def test_one_that_was_switched_off_by_hand_is_what_its_file_says_again(server, schedule):
    schedule("apply")
    for each in server.recurring.values():
        each["status"] = "DISABLED"
    assert schedule("apply") == "photos: replaced\n"


def test_after_a_call_that_was_killed_in_between_one_is_left(server, schedule):
    schedule("apply")
    ((name, made),) = server.recurring.items()
    server.recurring["older"] = {
        **made,
        "recurring_run_id": "older",
        "created_at": "2026-11-26T00:00:00Z",
        "trigger": {"cron_schedule": {"cron": "0 0 5 * * *"}},
    }
    assert schedule("apply") == "photos: replaced\n"
    assert list(server.recurring) == [name]


def test_a_zone_is_given_to_the_server_as_hours_of_utc(server, schedule):
    schedule("apply", SCHEDULE + "time_zone: Europe/Berlin\n")
    (made,) = server.recurring.values()
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 1,2 * * *"
    given = made["runtime_config"]["parameters"]
    assert (given["cron"], given["time_zone"]) == ("0 0 3 * * *", "Europe/Berlin")
    # The server puts the time at which it makes a run in its place.
    assert given["created_at"] == "[[CurrentTime]]"


def test_those_of_others_are_left_alone(server, schedule):
    server.recurring["theirs"] = {
        "recurring_run_id": "theirs",
        "display_name": "photos",
        "created_at": "2026-11-26T00:00:00Z",
    }
    for action in ("apply", "delete"):
        assert "others have made" in schedule(action, code=2)
    assert "photos" not in schedule("list")
    assert changes(server) == []


def test_deleted_it_is_gone_and_deleted_again_it_is_not_there(server, schedule):
    text = SCHEDULE + "---" + SCHEDULE.replace("photos", "birds", 1)
    schedule("apply", text)
    assert schedule("delete", text) == "photos: deleted\nbirds: deleted\n"
    assert server.recurring == {}
    assert schedule("delete", text) == "photos: not there\nbirds: not there\n"


def test_a_version_on_a_server_without_the_pipeline_is_refused_in_words_of_the_file(
    server, schedule
):
    server.pipelines.clear()
    said = schedule("apply", code=2)
    assert "Without a version, that of this package is published" in said
    assert "submit" not in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cron:", "corn:", "Did you mean cron"),
        ("s3://team/photos", "photos/", "must be in a bucket"),
        ("version: '1'", "version: nonsense", "nonsense"),
        ("version: '1'", "profile: nonsense", "A profile must be one of"),
    ],
)
def test_a_file_that_cannot_be_applied_changes_nothing(server, schedule, old, new, message):
    said = schedule("apply", SCHEDULE.replace(old, new), code=2)
    assert message in said
    # Words of another command.
    assert "submit" not in said
    assert "--version" not in said
    assert not [each for each in changes(server) if "recurringruns" in each]


def test_the_pods_of_a_schedule_run_as_the_service_account_of_its_file(server, schedule):
    schedule("apply", SCHEDULE + "service_account: trainer\n")
    (made,) = server.recurring.values()
    assert made["service_account"] == "trainer"
    # It is compared, too.
    assert schedule("apply", SCHEDULE) == "photos: replaced\n"
