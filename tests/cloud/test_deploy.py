"""deploy.sh and migrate.sh --job: every command of every mode, judged by gcloud's own parser.

What the parser does not check (limits, pinned versions, which settings exist) is asserted here.
"""

import re

import pytest

from spot.settings import Settings
from tests.fixtures.deploy_modes import MODES, REPOSITORY, deployments, flag
from tests.fixtures.gcloud import DIGEST, CloudRun
from tests.fixtures.setting_names import setting_names

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


@pytest.mark.parametrize("mode", MODES)
def test_the_parser_accepts_every_command(runs: dict[str, CloudRun], mode: str) -> None:
    done = runs[mode]
    assert (done.status, done.errors.replace("\n", " ")) in {
        (0, ""),
        (0, "deploy.sh: this gcloud has no worker pools: shards become services that never sleep (dearer) "),
    }  # fmt: skip
    assert done.commands


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
    [moved] = runs["job up"].matching("run", "jobs", "deploy")
    assert flag(moved, "--set-cloudsql-instances") == "p1:us-central1:spot-db-2"
    assert flag(commands[executed], "--args") == "migrate,up"


def test_a_job_that_is_started_by_hand_only_looks(runs: dict[str, CloudRun]) -> None:
    """What an execution does is told to it alone: `down --force` once must not happen again."""
    migrations = [
        job
        for done in runs.values()
        for job in done.matching("run", "jobs", "deploy")
        if job[3] == "spot-migrate"
    ]
    assert len(migrations) >= 6
    assert {flag(job, "--args") for job in migrations} == {"migrate,status"}
    [down] = runs["job down"].matching("run", "jobs", "execute")
    assert flag(down, "--args") == "migrate,down,2,--yes,--force"
    [read] = runs["job down"].matching("logging", "read")
    assert "timestamp>=" in read[2]


def test_maintenance_has_the_settings_of_this_deploy_and_no_others(
    runs: dict[str, CloudRun],
) -> None:
    def job(mode: str) -> list[str]:
        jobs = runs[mode].matching("run", "jobs", "deploy")
        [found] = [job for job in jobs if job[3] == "spot-maintain"]
        return found

    assert flag(job("release"), "--set-env-vars") == "^|^SPOT_QUOTES=USD,EUR|SPOT_RETENTION=1m=90d"
    assert "--clear-env-vars" not in job("release")
    assert "--clear-env-vars" in job("release, own database")


def test_private_closes_what_was_open(runs: dict[str, CloudRun]) -> None:
    who = ["--member=allUsers", "--role=roles/run.invoker"]
    [closed] = runs["deploy"].matching("run", "services", "remove-iam-policy-binding")
    assert closed[3] == "spot-gateway"
    assert set(who) <= set(closed)
    [checked] = runs["deploy"].matching("run", "services", "update")
    assert "--invoker-iam-check" in checked
    for mode in ("deploy, closed", "deploy, open"):
        assert not runs[mode].matching("run", "services", "remove-iam-policy-binding")
        assert not runs[mode].matching("run", "services", "update")
    [opened] = runs["deploy, open"].matching("run", "services", "add-iam-policy-binding")
    assert set(who) <= set(opened)
    assert not runs["deploy, closed"].matching("run", "services", "add-iam-policy-binding")


def test_a_network_is_joined_whenever_one_is_named(runs: dict[str, CloudRun]) -> None:
    done = runs["release, in a network"]
    for command in deployments({"all": done}, at_least=4):
        assert "--network=vpc" in command
        assert "--vpc-egress=private-ranges-only" in command
        assert flag(command, "--set-cloudsql-instances") == "p1:us-central1:spot-db"


def test_given_secrets_may_be_read_by_those_who_get_them(runs: dict[str, CloudRun]) -> None:
    granted = {
        (c[2], flag(c, "--member"))
        for c in runs["setup, own secrets"].matching("secrets", "add-iam-policy-binding")
        if flag(c, "--role") == "roles/secretmanager.secretAccessor"
    }
    for secret in ("cb-key", "cb-secret"):
        for name in ("worker", "gateway"):
            member = f"serviceAccount:spot-{name}@p1.iam.gserviceaccount.com"
            assert (secret, member) in granted
    assert not [c for c in runs["setup"].commands if "cb-key" in c]


def test_own_database_is_reached_by_its_network(runs: dict[str, CloudRun]) -> None:
    done = runs["release, own database"]
    assert not done.matching("sql")
    assert "no backup by Cloud SQL" in done.output
    for command in deployments({"all": done}, at_least=4):
        assert {"--network=vpc", "--subnet=inner"} <= set(command)
        assert not any("cloudsql" in word for word in command)
    for command in deployments(runs):
        assert any("network=vpc" in word or "cloudsql" in word for word in command)


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
        assert flag(update, "--image") == f"{REPOSITORY}@sha256:feed"
        assert not [word for word in update if word.startswith("--set-")]
    assert not runs["rollback"].matching("run", "jobs")
    assert f"{REPOSITORY}@sha256:feed (v0)" in runs["rollback"].output


def test_destroy_keeps_the_data_unless_told(runs: dict[str, CloudRun]) -> None:
    kept = runs["destroy"]
    assert len(kept.matching("run", "worker-pools", "delete")) == 4
    assert not [c for c in kept.commands if {"sql", "secrets", "artifacts", "storage"} & set(c)]
    everything = runs["destroy all"]
    assert everything.matching("sql", "instances", "delete")
    assert len(everything.matching("secrets", "delete")) == 3
    assert everything.matching("storage", "rm", "--recursive", "gs://p1-spot-source")
    # Once deleted, its name would be taken, and the next setup would fail.
    assert not everything.matching("iam", "roles", "delete")
    assert "the role projects/p1/roles/spot_backup" in everything.output
