"""A client of a server that answers, or the reason why there is none."""

import json
import subprocess

import psutil
import pytest
from http_answers import Answer, serving

from kfp_vision.pipelines.cluster import connection, kube_context
from kfp_vision.pipelines.cluster.connection import BackendError, connect

LOGIN = b"<!doctype html><title>Dex</title><form>Log in <input type=password></form>"
UNAUTHENTICATED = {"error": "Request header error", "code": 16, "message": "Request header error"}


def as_json(content, status=200):
    return Answer(json.dumps(content).encode(), status)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in (
        "KF_PIPELINES_ENDPOINT",
        "KF_PIPELINES_SA_TOKEN_PATH",
        "KFP_EXISTING_TOKEN",
        "SSL_CA_CERT",
        "KUBERNETES_SERVICE_HOST",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
    )


def api(multi_user=False, token="", namespace="team"):
    """Answers as a server; with a token, as one that lets in who has it."""

    def answer(asked):
        if asked.path == "/apis/v2beta1/healthz":
            return as_json({"commit_sha": "c", "tag_name": "2.17.0", "multi_user": multi_user})
        if token and asked.headers.get("authorization") != f"Bearer {token}":
            return as_json(UNAUTHENTICATED, 401)
        if asked.path.startswith("/apis/v2beta1/experiments?"):
            if multi_user and f"namespace={namespace}" not in asked.path:
                return as_json({"code": 7, "message": "may not list in the namespace"}, 403)
            return as_json({"experiments": []})
        return Answer(b"404 page not found\n", 404, "text/plain")

    return answer


def test_a_client_of_a_server_without_users_names_no_namespace(capfd):
    with serving(api()) as host:
        client = connect(host, namespace="elsewhere")
    assert client.get_user_namespace() == ""
    assert capfd.readouterr() == ("", "")


def test_the_host_comes_from_the_environment(monkeypatch):
    with serving(api()) as host:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", host)
        connect()


def test_a_token_is_read_anew_from_its_file(monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    with serving(api(token="new")) as host:
        with pytest.raises(BackendError, match=f"does not accept .*{token}.*expired"):
            connect(host)
        token.write_text("new\n")
        client = connect(host)
        token.write_text("gone")
        with pytest.raises(BackendError, match="expired") as refused:
            client.list_experiments()
    assert refused.value.status == 401


def test_the_token_itself_is_never_shown(monkeypatch):
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "secret-value")
    with serving(api(token="other")) as host, pytest.raises(BackendError) as refused:
        connect(host)
    assert "secret-value" not in str(refused.value)
    assert "KFP_EXISTING_TOKEN" in str(refused.value)


@pytest.mark.parametrize("token", ["two\nsecrets", "sécret", "sec ret", "\x00secret", " \n"])
def test_what_is_no_token_is_neither_sent_nor_shown(monkeypatch, tmp_path, token):
    (tmp_path / "token").write_text(token)
    asked = []

    def answer(request):
        asked.append(request)
        return api()(request)

    with serving(answer) as host:
        if "\x00" not in token:
            monkeypatch.setenv("KFP_EXISTING_TOKEN", token)
            with pytest.raises(ValueError, match="KFP_EXISTING_TOKEN must hold a token") as refused:
                connect(host)
            assert "cret" not in str(refused.value)
            monkeypatch.delenv("KFP_EXISTING_TOKEN")
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
        with pytest.raises(ValueError, match="token must hold a token") as refused:
            connect(host)
        assert "cret" not in str(refused.value)
    assert not [request for request in asked if "authorization" in request.headers]


def test_a_line_that_ends_is_the_same_token(monkeypatch):
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "new\n")
    with serving(api(token="new")) as host:
        connect(host)


@pytest.mark.parametrize(
    "host",
    [
        *("ftp://server", "://", "http://", "http://my server", "http://server:http"),
        *("http://server:99999", "http://server/\n", "http://[::1", "http://me:secret@server"),
        *("https://server/pipeline/#/runs", "https://server?x=1"),
    ],
)
def test_what_is_no_address_is_refused(host):
    with pytest.raises(ValueError, match="`host` must be a URL") as refused:
        connect(host)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("content", ["{oops", "[]", "{}"])
def test_a_file_of_the_sdk_that_is_none_is_named(tmp_path, content):
    (tmp_path / "context.json").write_text(content)
    with pytest.raises(ValueError, match=r"file of the KFP SDK.*context.json.*Remove it"):
        connect("http://127.0.0.1:1")


@pytest.mark.parametrize("content", ["{oops: [", "- a list", "\x00"])
def test_a_kubeconfig_that_is_none_is_no_cluster(tmp_path, content):
    (tmp_path / "config").write_text(content)
    with pytest.raises(ValueError, match="no host, and no kube context"):
        connect()
    kube_context._api.cache_clear()
    assert kube_context.ask_context(lambda api: "asked") is None


def test_users_share_a_server_by_namespaces():
    with serving(api(multi_user=True)) as host:
        assert connect(host, "team").get_user_namespace() == "team"
        with pytest.raises(BackendError, match="forbids.*--namespace.*may not list"):
            connect(host, "others")
        with pytest.raises(ValueError, match="wants a namespace"):
            connect(host)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("http://no-such-host.invalid", "does not resolve"),
        ("http://127.0.0.1:1", "Nothing answers"),
        ("http://a..b", "a..b"),
    ],
)
def test_an_address_without_a_server_is_named(host, reason):
    with pytest.raises(BackendError, match=reason) as refused:
        connect(host)
    assert refused.value.status == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Answer(b"404 page not found\n", 404, "text/plain"), "is no Kubeflow Pipelines server"),
        (Answer(b'{"status": "ok"}'), "is no Kubeflow Pipelines server"),
        (Answer(b"ok", content_type="text/plain"), "is no Kubeflow Pipelines server"),
        (Answer(b"null"), "is no Kubeflow Pipelines server"),
        (Answer(b'{"multi_user": f'), "is no Kubeflow Pipelines server"),
        (Answer(b"\xff\x00"), "is no Kubeflow Pipelines server"),
        (Answer(b"<html>Welcome", content_type="text/html"), "is no Kubeflow Pipelines server"),
        (Answer(LOGIN, content_type="text/html; charset=utf-8"), "login page"),
        (Answer(b"upstream connect error", 503, "text/plain"), "503 .*upstream connect error"),
    ],
)
def test_a_server_of_another_kind_is_named(given, reason):
    with serving(lambda asked: given) as host, pytest.raises(BackendError, match=reason):
        connect(host)


def test_a_login_page_behind_a_redirect_is_seen():
    def answer(asked):
        if asked.path == "/dex/auth":
            return Answer(LOGIN, content_type="text/html")
        return Answer(b"", 302, "text/plain", location="/dex/auth")

    with serving(answer) as host, pytest.raises(BackendError, match="login page"):
        connect(host)


def test_certificates_are_verified(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    with serving(api(), (certificate, key)) as host:
        with pytest.raises(BackendError, match="not accepted: self-signed.*--ca-cert"):
            connect(host)
        connect(host, ca_cert=str(certificate))
        (tmp_path / "garbage.pem").write_text("no certificate")
        with pytest.raises(BackendError, match=r"TLS.*failed"):
            connect(host, ca_cert=str(tmp_path / "garbage.pem"))
        monkeypatch.setenv("SSL_CA_CERT", str(certificate))
        connect(host)
    with serving(api()) as host, pytest.raises(BackendError, match="without TLS"):
        connect(host.replace("http:", "https:"))


def test_a_file_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(ValueError, match="must be a file.*missing.pem"):
        connect("http://127.0.0.1:1", ca_cert="missing.pem")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", "missing-token")
    with pytest.raises(ValueError, match="must name a file.*missing-token"):
        connect("http://127.0.0.1:1")


@pytest.fixture
def slow_plugin(tmp_path, monkeypatch):
    """A kube context whose credential plugin waits for a person; yields its file of process ID."""
    started = tmp_path / "started"
    command = f"echo $$ > {started}; sleep 600"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh"}
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "k", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"exec": {**plugin, "args": ["-c", command]}}}],
        "current-context": "k",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    kube_context._api.cache_clear()
    monkeypatch.setattr(connection, "PLUGIN_S", 1.0)
    monkeypatch.setattr(kube_context, "_SIDE_PLUGIN_S", 1.0)
    return started


def test_a_credential_plugin_that_does_not_answer_is_ended(slow_plugin):
    with pytest.raises(BackendError, match="plugin of the kube context.*Log in"):
        connect()
    assert not psutil.pid_exists(int(slow_plugin.read_text()))
    assert kube_context.ask_context(lambda api: "asked") is None


def test_without_a_host_a_cluster_must_be_known():
    with pytest.raises(ValueError, match="no host, and no kube context"):
        connect()
