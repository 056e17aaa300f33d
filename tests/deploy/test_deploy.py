"""What deploy/, the Dockerfile and docker-compose.yml say is what their programs and this server understand."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from orpheus_openai.server import DRAIN_SECONDS, NOTICE_SECONDS
from orpheus_openai.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROFILES = sorted((DEPLOY / "profiles").glob("*.env"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/orpheus.json").read_text())
UNTIL_STOPPED = NOTICE_SECONDS + DRAIN_SECONDS
"""Seconds a server may take to stop."""


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return found or pytest.skip(f"{name} is not installed")


def succeeds(*command: object) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def read_yaml(path: Path):
    return pytest.importorskip("yaml").safe_load(path.read_text())


# --- images -----------------------------------------------------------------------------------------------------------


def stages() -> dict[str, tuple[str, str]]:
    """Name of each stage of the Dockerfile → what it is made from, its instructions."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return {parts[i + 1]: (parts[i], parts[i + 2]) for i in range(1, len(parts), 3)}


def inherited(target: str) -> str:
    """All instructions that an image of that stage has, its bases' first."""
    found = stages()
    base, text = found[target]
    return (inherited(base) if base in found else "") + text


def test_the_linter_has_nothing_to_say_about_the_images() -> None:
    succeeds(program("hadolint"), "Dockerfile")


@pytest.mark.parametrize("target", ["gpu", "cpu", "preview"])
def test_an_image_runs_as_nobody_special_keeps_what_matters_and_is_watched(target: str) -> None:
    text = inherited(target)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000:1000"
    assert 'VOLUME ["/outputs", "/home/orpheus/.cache"]' in text
    assert "HEALTHCHECK" in text
    assert "EXPOSE 8899" in text
    assert 'CMD ["orpheus-openai", "serve"]' in text


def test_the_default_image_is_the_one_with_the_gpu() -> None:
    assert list(stages())[-1] == "gpu"


def test_the_health_check_of_the_images_tells_a_server_from_none(server_url: str) -> None:
    (check,) = set(
        re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    command = [sys.executable, *json.loads(check)[1:]]

    def code(port: str) -> int:
        return subprocess.run(command, env={"PORT": port}, capture_output=True, check=False).returncode

    assert code(server_url.rpartition(":")[2]) == 0
    assert code("1") != 0


def test_the_build_context_has_what_the_package_is_built_from_and_little_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    documents = {"README.md", *project["project"]["license-files"][:2], "LICENSES"}
    assert allowed == {"pyproject.toml", "constraints", *documents, *packages}
    assert all((ROOT / path).exists() for path in allowed)


# --- compose ----------------------------------------------------------------------------------------------------------


def test_the_composition_has_the_form_that_compose_asks_for() -> None:
    succeeds(program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_each_profile_of_the_composition_starts_what_it_says() -> None:
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    by_profile: dict[str, set[str]] = {}
    for name, service in services.items():
        for profile in service.get("profiles", ["default"]):
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile == {
        "default": {"orpheus"},
        "cpu": {"cpu"},
        "scale": {"gpu-0", "gpu-1", "scale"},
        "observe": {"prometheus", "grafana"},
    }


def test_the_composition_mounts_files_that_are_there_and_waits_for_streams_to_end() -> None:
    for name, service in read_yaml(ROOT / "docker-compose.yml")["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./deploy") or (ROOT / source).exists(), f"{name}: {source}"
        if "build" in service:
            assert int(service["stop_grace_period"].removesuffix("s")) > UNTIL_STOPPED, name
            assert service["build"]["target"] in stages(), name


def test_each_instance_with_a_gpu_is_given_the_cards_that_one_variable_names() -> None:
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    named = {
        name: service["environment"]["NVIDIA_VISIBLE_DEVICES"]
        for name, service in services.items()
        if service.get("runtime") == "nvidia"
    }
    assert named == {"orpheus": "${NVIDIA_VISIBLE_DEVICES:-0}", "gpu-0": "0", "gpu-1": "1"}


def test_what_is_compiled_for_a_card_outlives_its_container() -> None:
    names = "HF_HOME VLLM_CACHE_ROOT TRITON_CACHE_DIR TORCHINDUCTOR_CACHE_DIR CUDA_CACHE_PATH".split()
    environ = dict(re.findall(r"\b([A-Z_]+)=(/\S+)", inherited("gpu")))
    assert all(Path("/home/orpheus/.cache") in Path(environ[name]).parents for name in names)
    for service in read_yaml(ROOT / "docker-compose.yml")["services"].values():
        assert "build" not in service or "cache:/home/orpheus/.cache" in service["volumes"]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_profile_is_made_of_settings_the_server_knows(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings = load_settings({}, path)
    assert not caplog.records
    assert settings != Settings()


def test_the_profiles_keep_models_as_long_as_their_names_say() -> None:
    chosen = {path.stem: load_settings({}, path) for path in PROFILES}
    assert set(chosen) == {"development", "production", "low-latency", "low-memory", "many-users"}
    assert chosen["development"].gpu_idle_timeout == 30
    assert chosen["production"].gpu_idle_timeout == 600
    assert chosen["low-latency"].pinned == ("medium-3b",)


def test_where_others_are_served_the_model_is_named_so_that_nothing_takes_its_place() -> None:
    chosen = {path.stem: load_settings({}, path).model for path in PROFILES}
    assert chosen.pop("development") == "auto"
    in_kubernetes = read_yaml(DEPLOY / "kubernetes/settings.yaml")["data"]["ORPHEUS_MODEL"]
    assert {*chosen.values(), in_kubernetes} == {"medium-3b"}


# --- the proxies and the watchers, by their own programs; test_scale.py runs them -------------------------------------


def test_haproxy_understands_its_configuration() -> None:
    succeeds(program("haproxy"), "-c", "-f", DEPLOY / "haproxy.cfg")


def test_caddy_understands_its_configuration() -> None:
    succeeds(program("caddy"), "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile")


def test_prometheus_understands_its_configuration() -> None:
    succeeds(program("promtool"), "check", "config", DEPLOY / "prometheus.yml")


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_prometheus_understands_every_question_of_the_dashboard(tmp_path: Path) -> None:
    asked = [each.replace("$__rate_interval", "1m").replace("$instance", ".*") for each in expressions()]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    succeeds(program("promtool"), "check", "rules", file)


def test_the_server_measures_everything_the_dashboard_shows(server_url: str) -> None:
    offered = set(re.findall(r"^# TYPE (\S+)", httpx.get(f"{server_url}/metrics").text, re.MULTILINE))
    asked = set(re.findall(r"\borpheus_\w+?(?=(?:_bucket|_sum|_count)?[{])", " ".join(expressions())))
    assert len(asked) >= 10
    assert asked <= offered


def test_the_dashboard_finds_its_data_source() -> None:
    (source,) = read_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (provider,) = read_yaml(DEPLOY / "grafana/provisioning/dashboards/orpheus.yml")["providers"]
    mounts = read_yaml(ROOT / "docker-compose.yml")["services"]["grafana"]["volumes"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts


# --- Kubernetes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_understands_a_manifest(path: Path) -> None:
    manifest = read_yaml(path)
    if manifest["kind"] == "Kustomization":
        assert {*manifest["resources"], path.name, "autoscaler.yaml", "ingress.yaml"} == {
            each.name for each in MANIFESTS
        }
        return
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_an_instance_in_kubernetes_may_finish_its_streams_and_has_settings_the_server_knows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pod = read_yaml(DEPLOY / "kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > UNTIL_STOPPED
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["readinessProbe"]["periodSeconds"] * 2 < NOTICE_SECONDS
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    given = {each["name"]: each["value"] for each in container["env"]}
    load_settings(given | read_yaml(DEPLOY / "kubernetes/settings.yaml")["data"], None)
    assert not caplog.records
