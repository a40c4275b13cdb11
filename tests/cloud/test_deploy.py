"""deploy.sh and migrate.sh --job: every command of every mode, judged by gcloud's own parser.

What the parser does not check (limits, pinned versions, which settings exist) is asserted here.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from spot.settings import Settings
from tests.fixtures.gcloud import DIGEST, Cloud, CloudRun
from tests.fixtures.setting_names import setting_names

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

HERE = ("--project", "p1")
OWN = ("--external-database", "--network", "vpc", "--subnet", "inner")
FOUR = "\\n".join(f"spot-shard-{index}" for index in range(4))
IMAGES = f"registry/spot@{DIGEST}\\nregistry/spot@{DIGEST}\\nregistry/spot@sha256:feed\\nregistry/spot@sha256:dead"


class Mode(NamedTuple):
    """One way an operator calls the scripts."""

    arguments: tuple[str, ...]
    answers: dict[str, str] = {}  # noqa: RUF012  a tuple's default, never changed
    refuses: str = ""


MODES = {
    "setup": Mode(("deploy.sh", "setup", *HERE), refuses=r" (describe|list) "),
    "setup again": Mode(("deploy.sh", "setup", *HERE)),
    "setup, user left": Mode(
        ("deploy.sh", "setup", *HERE), {"sql users list": "spot_migrate"}, "secrets describe"
    ),
    "setup, own database": Mode(("deploy.sh", "setup", *HERE, *OWN), refuses=" describe "),
    "deploy": Mode(("deploy.sh", "deploy", *HERE, "--private", "--tag", "v1", "--shards", "3",
                    "--set", "SPOT_QUOTES=USD,EUR", "--no-backup")),
    "release": Mode(("deploy.sh", "release", "all", *HERE, "--tag", "v1", "--shards", "3",
                     "--passed-on", "--set|SPOT_QUOTES=USD,EUR|--set|SPOT_RETENTION=1m=90d|"
                     "--secret|COINBASE_API_KEY=cb-key:2|--secret|COINBASE_API_SECRET=cb-secret:1")),
    "release, old gcloud": Mode(("deploy.sh", "release", "shards", *HERE, "--shards", "2"),
                                refuses="worker-pools"),
    "release, own database": Mode(("deploy.sh", "release", "all", *HERE, *OWN, "--shards", "1")),
    "status": Mode(("deploy.sh", "status", *HERE, "--private")),
    "rollback": Mode(("deploy.sh", "rollback", *HERE, "--yes", "--private"),
                     {"revisions list": IMAGES, "worker-pools list": FOUR}),
    "rollback to a tag": Mode(("deploy.sh", "rollback", *HERE, "--yes", "--private", "--tag", "v0")),
    "destroy": Mode(("deploy.sh", "destroy", *HERE, "--yes"), {"worker-pools list": FOUR}),
    "destroy all": Mode(("deploy.sh", "destroy", *HERE, "--yes", "--with-data")),
    "job up": Mode(("migrate.sh", "--job", *HERE, "--instance", "spot-db-2", "up")),
    "job down": Mode(("migrate.sh", "--job", *HERE, "down", "2", "--yes", "--force")),
    "job status": Mode(("migrate.sh", "--job", *HERE, *OWN, "--image", "i", "status")),
    "job break-lock": Mode(("migrate.sh", "--job", *HERE, "break-lock", "--yes")),
}  # fmt: skip
URLS = {
    "DATABASE_URL": "postgresql://owner:hunter2@h/db",
    "SPOT_WORKER_DATABASE_URL": "postgresql://worker:hunter2@h/db",
    "SPOT_GATEWAY_DATABASE_URL": "postgresql://gateway:hunter2@h/db",
}


@pytest.fixture(scope="module")
def runs(cloud: Cloud) -> dict[str, CloudRun]:
    """Every mode, run once."""

    def run(mode: Mode) -> CloudRun:
        script, *arguments = mode.arguments
        return cloud.run(
            script, *arguments, answers=mode.answers, refuses=mode.refuses, variables=URLS
        )

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(MODES, pool.map(run, MODES.values()), strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_the_parser_accepts_every_command(runs: dict[str, CloudRun], mode: str) -> None:
    done = runs[mode]
    assert (done.status, done.errors.replace("\n", " ")) in {
        (0, ""),
        (0, "deploy.sh: this gcloud has no worker pools: shards become services that never sleep (dearer) "),
    }  # fmt: skip
    assert done.commands


def flag(command: list[str], name: str) -> str:
    values = [word.partition("=")[2] for word in command if word.partition("=")[0] == name]
    assert len(values) == 1, (name, command)
    return values[0]


def deployments(runs: dict[str, CloudRun]) -> list[list[str]]:
    kinds = (
        ("run", "deploy"),
        ("run", "jobs", "deploy"),
        ("run", "worker-pools", "deploy"),
    )
    found = [
        command
        for done in runs.values()
        for kind in kinds
        for command in done.matching(*kind)
        if "--help" not in command
    ]
    assert len(found) > 15
    return found


def test_what_runs_is_bounded_pinned_and_its_own_account(runs: dict[str, CloudRun]) -> None:
    for command in deployments(runs):
        assert flag(command, "--project") == "p1"
        assert flag(command, "--region") == "us-central1"
        assert flag(command, "--image") == "i" or flag(command, "--image").endswith(f"@{DIGEST}")
        assert re.fullmatch(
            r"spot-(worker|gateway|migrate)@p1\.iam\.gserviceaccount\.com",
            flag(command, "--service-account"),
        )
        assert flag(command, "--args").split(",")[0] in {"fleet", "gateway", "migrate", "maintain"}
        assert flag(command, "--cpu") in {"1", "2", "4", "8"}
        assert re.fullmatch(r"\d+(Mi|Gi)", flag(command, "--memory"))
        assert "--quiet" in command
        for secret in flag(command, "--set-secrets").split(","):
            assert re.fullmatch(r"[A-Z_]+=[a-z-]+:\d+", secret), secret


def test_every_variable_is_a_setting(runs: dict[str, CloudRun]) -> None:
    known = setting_names()
    for command in deployments(runs):
        given = [word.partition("=")[2] for word in command if word.startswith("--set-env-vars")]
        variables = [text for value in given for text in value.removeprefix("^|^").split("|")]
        variables += flag(command, "--set-secrets").split(",")
        for text in variables:
            assert text.partition("=")[0] in known, text


def test_gateway_keeps_to_cloud_runs_limits(runs: dict[str, CloudRun]) -> None:
    for mode in ("release", "release, own database"):
        [command] = runs[mode].matching("run", "deploy")
        assert int(flag(command, "--timeout")) <= 3600
        assert int(flag(command, "--concurrency")) <= 1000
        assert int(flag(command, "--min-instances")) <= int(flag(command, "--max-instances"))
        assert int(flag(command, "--port")) == Settings().port
        assert "--no-cpu-throttling" in command
        assert "--allow-unauthenticated" not in command


def test_each_shard_is_one_pool_of_one_instance(runs: dict[str, CloudRun]) -> None:
    pools = runs["release"].matching("run", "worker-pools", "deploy")
    pools = [pool for pool in pools if "--help" not in pool]
    assert sorted(pool[3] for pool in pools) == ["spot-shard-0", "spot-shard-1", "spot-shard-2"]
    for pool in pools:
        variables = flag(pool, "--set-env-vars").removeprefix("^|^").split("|")
        assert variables[:2] == [f"SHARD_INDEX={pool[3][-1]}", "SHARD_COUNT=3"]
        assert variables[2:] == ["SPOT_QUOTES=USD,EUR", "SPOT_RETENTION=1m=90d"]
        assert {"--scaling=1", "--instances=1"} & set(pool)
        assert flag(pool, "--set-secrets") == (
            "DATABASE_URL=spot-url-worker:7,COINBASE_API_KEY=cb-key:2,COINBASE_API_SECRET=cb-secret:1"
        )
        assert flag(pool, "--set-cloudsql-instances") == "p1:us-central1:spot-db"


def test_without_worker_pools_a_shard_is_a_service_that_never_sleeps(
    runs: dict[str, CloudRun],
) -> None:
    services = runs["release, old gcloud"].matching("run", "deploy")
    assert sorted(service[2] for service in services) == ["spot-shard-0", "spot-shard-1"]
    for service in services:
        assert flag(service, "--min-instances") == flag(service, "--max-instances") == "1"
        assert "--no-cpu-throttling" in service
        assert "--no-allow-unauthenticated" in service


def test_migrations_run_once_before_the_programs(runs: dict[str, CloudRun]) -> None:
    commands = runs["release"].commands
    executed = commands.index(
        next(c for c in commands if c[:4] == ["run", "jobs", "execute", "spot-migrate"])
    )
    backed_up = commands.index(next(c for c in commands if c[:3] == ["sql", "backups", "create"]))
    rolled = [n for n, c in enumerate(commands) if "deploy" in c and "spot-shard-0" in c]
    assert backed_up < executed < rolled[0]
    assert "--wait" in commands[executed]
    [job] = [j for j in runs["release"].matching("run", "jobs", "deploy") if j[3] == "spot-migrate"]
    assert (flag(job, "--tasks"), flag(job, "--max-retries")) == ("1", "0")
    assert flag(job, "--args") == "migrate,up"
    [moved] = runs["job up"].matching("run", "jobs", "deploy")
    assert flag(moved, "--set-cloudsql-instances") == "p1:us-central1:spot-db-2"
    down = runs["job down"].matching("run", "jobs", "deploy")
    assert [flag(job, "--args") for job in down] == ["migrate,down,2,--yes,--force"]


def test_own_database_is_reached_by_its_network(runs: dict[str, CloudRun]) -> None:
    done = runs["release, own database"]
    assert not done.matching("sql")
    assert "no backup by Cloud SQL" in done.output
    for command in deployments(runs):
        assert ("--network=vpc" in command) != any("cloudsql" in word for word in command)


def test_set_up_makes_what_is_missing_and_only_that(runs: dict[str, CloudRun]) -> None:
    [instance] = runs["setup"].matching("sql", "instances", "create")
    assert {"--edition=enterprise", "--deletion-protection", "--backup"} <= set(instance)
    assert flag(instance, "--database-version") == "POSTGRES_17"
    again = runs["setup again"].commands
    assert not [c for c in again if "create" in c]
    assert len(runs["setup"].matching("secrets", "create")) == 3
    assert runs["setup, user left"].matching("sql", "users", "set-password")


def test_each_account_gets_the_least(runs: dict[str, CloudRun]) -> None:
    granted = {
        (flag(c, "--member").partition(":")[2].partition("@")[0], flag(c, "--role"), c[0])
        for c in runs["setup"].commands
        if "add-iam-policy-binding" in c
    }
    projectwide = {(who, role) for who, role, where in granted if where == "projects"}
    assert projectwide == {
        ("spot-worker", "roles/cloudsql.client"),
        ("spot-gateway", "roles/cloudsql.client"),
        ("spot-migrate", "roles/cloudsql.client"),
        ("spot-deployer", "projects/p1/roles/spot_backup"),
        ("spot-deployer", "roles/run.developer"),
        ("spot-deployer", "roles/logging.logWriter"),
    }
    assert ("spot-deployer", "roles/secretmanager.secretAccessor", "secrets") not in granted


def test_no_secret_is_in_an_argument_or_said(runs: dict[str, CloudRun]) -> None:
    for done in runs.values():
        said = done.output + done.errors + str(done.commands)
        assert "hunter2" not in said
        assert not re.search(r"postgresql://|--password|[^0-9a-f][0-9a-f]{48}[^0-9a-f]", said)


def test_rollback_goes_to_the_former_image_and_keeps_the_settings(
    runs: dict[str, CloudRun],
) -> None:
    updates = runs["rollback"].matching("run", "worker-pools", "update")
    updates += runs["rollback"].matching("run", "services", "update")
    assert len(updates) == 5
    for update in updates:
        assert flag(update, "--image") == "registry/spot@sha256:feed"
        assert not [word for word in update if word.startswith("--set-")]
    assert not runs["rollback"].matching("run", "jobs")


def test_destroy_keeps_the_data_unless_told(runs: dict[str, CloudRun]) -> None:
    kept = runs["destroy"]
    assert len(kept.matching("run", "worker-pools", "delete")) == 4
    assert not [c for c in kept.commands if {"sql", "secrets", "artifacts"} & set(c)]
    everything = runs["destroy all"]
    assert everything.matching("sql", "instances", "delete")
    assert len(everything.matching("secrets", "delete")) == 3
