"""What docs/kubernetes.md says is what the code has."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import kfp
import yaml
from kfp.kubernetes import kubernetes_executor_config_pb2 as executor_config

from kfp_vision.pipelines.cluster.placement import SECRET_KEYS
from kfp_vision.pipelines.cluster.profile import PROFILES, GpuPool, Pool, Profile
from kfp_vision.pipelines.resources import RUN_HOURS, STAGES, TTL_HOURS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "kubernetes.md").read_text(encoding="utf-8")


def test_its_table_is_that_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| ([cg]pu) \|(.+)\|$", PAGE, re.MULTILINE)
    shown = {name: [target, *map(float, cells.split("|"))] for name, target, cells in rows}
    assert shown == {name: [*dataclasses.astuple(line)] for name, line in STAGES.items()}
    assert f"may take {RUN_HOURS} hours" in PAGE
    assert f"logs {TTL_HOURS} hours" in PAGE


def test_it_names_every_field_of_a_profile_and_no_unknown_key():
    fields = {field.name for kind in (Profile, Pool, GpuPool) for field in dataclasses.fields(kind)}
    assert fields <= set(re.findall(r"`(\w+)`", PAGE))
    assert set(re.findall(r"AWS_\w+", PAGE)) <= set(SECRET_KEYS)
    assert all(f"`{name}`" in PAGE for name in PROFILES)


def test_its_links_lead_somewhere():
    assert all((DOCS / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", PAGE))
    assert max(map(len, PAGE.splitlines())) <= 120


def test_its_run_is_one_that_the_compiled_file_takes(tmp_path, monkeypatch, kfp_vision_here):
    (command,) = re.findall(r"^kfp-vision (compile .*)$", PAGE, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert kfp_vision_here(*command.split()).returncode == 0
    pipeline, platform = yaml.safe_load_all(Path("pipeline.yaml").read_text())
    secret = command.split("--secret ")[1]
    assert f"create secret generic {secret} " in PAGE
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert all(each["secretAsEnv"][0]["secretName"] == secret for each in executors)

    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    call = ast.parse(code).body[-1].value
    given = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    submit = getattr(kfp.Client, call.func.attr)
    inspect.signature(submit).bind(None, ast.literal_eval(call.args[0]), **given)
    wanted = pipeline["root"]["inputDefinitions"]["parameters"]
    assert given["arguments"].keys() <= wanted.keys()
    required = {name for name, each in wanted.items() if not each.get("isOptional")}
    assert required <= given["arguments"].keys()


def test_what_it_says_a_file_cannot_express_is_no_field_of_kfp_kubernetes():
    fields = executor_config.KubernetesExecutorConfig.DESCRIPTOR.fields_by_name
    security = executor_config.SecurityContext.DESCRIPTOR.fields_by_name
    assert set(security) == {"run_as_user", "run_as_group", "run_as_non_root"}
    assert not [name for name in fields if "service_account" in name or "resource" in name]
