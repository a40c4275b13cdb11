"""deploy.sh when something is wrong: bad options, refused commands, unhealthy services."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.gcloud import ROOT, Cloud, CloudRun

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]
HERE = ("--project", "p1")


def run_trusted(cloud: Cloud, *arguments: str, **options: Any) -> CloudRun:
    """Run a script whose commands are judged elsewhere."""
    return cloud.run(*arguments, is_judged=False, **options)


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (
            "--max-retries=0",
            "--max-retries=0 --no-such-flag",
            "unrecognized arguments: --no-such-flag",
        ),
        ("jobs deploy", "jobs launch", "Invalid choice: 'launch'"),
        ("--tasks=1", "--tasks=one", "one"),
    ],
)
def test_a_wrong_command_makes_the_test_fail(
    cloud: Cloud, changed_scripts: Path, right: str, wrong: str, words: str
) -> None:
    """The proof that the harness can fail."""
    script = changed_scripts / "cloud" / "common.sh"
    assert right in script.read_text()
    script.write_text(script.read_text().replace(right, wrong))
    done = cloud.run("migrate.sh", "--job", *HERE, "--image", "i", "up", root=changed_scripts)
    assert done.status == 97
    assert "gcloud refuses" in done.errors
    assert words in done.errors


def test_it_stops_at_the_first_failure_and_says_what_to_do(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "setup", *HERE, lacks=" describe ", refuses="instances create"
    )
    assert done.status == 1
    assert done.commands[-1][:3] == ["sql", "instances", "create"]
    assert done.errors.splitlines()[-2:] == [
        "deploy.sh: failed while making the Cloud SQL instance (10 minutes the first time);"
        " nothing after it was done",
        "deploy.sh: what to do: you need roles/cloudsql.admin; run setup again, it goes on where it stopped",
    ]


@pytest.mark.parametrize(
    "missing", ["sql backups create", "images describe", "jobs deploy", "worker-pools list"]
)
def test_no_step_is_done_after_one_that_failed(cloud: Cloud, missing: str) -> None:
    done = run_trusted(cloud, "deploy.sh", "release", "all", *HERE, refuses=missing)
    assert done.status == 1
    # The list is asked for by `release all` before it deploys any shard.
    assert missing in " ".join(done.commands[-1])


def test_a_failing_migration_stops_the_release(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "release", "all", *HERE, "--shards", "1", refuses="jobs execute"
    )
    assert done.status == 1
    assert "migrate.sh: failed while running up as the job spot-migrate" in done.errors
    assert not [command for command in done.commands if "spot-shard-0" in command]


def test_a_shard_that_cannot_be_deployed_is_named(cloud: Cloud) -> None:
    done = run_trusted(
        cloud,
        "deploy.sh",
        "release",
        "shards",
        *HERE,
        "--shards",
        "3",
        refuses="deploy spot-shard-1",
    )
    assert done.status == 1
    assert "deploy.sh: shards 1 were not deployed" in done.errors
    assert not [command for command in done.commands if "delete" in command]


def test_shards_beyond_the_count_are_removed(cloud: Cloud) -> None:
    there = {"worker-pools list": "\\n".join(f"spot-shard-{n}" for n in (0, 1, 2, 10, 3))}
    done = run_trusted(
        cloud, "deploy.sh", "release", "shards", *HERE, "--shards", "2", answers=there
    )
    deleted = [command[3] for command in done.matching("run", "worker-pools", "delete")]
    assert (done.status, sorted(deleted)) == (0, ["spot-shard-10", "spot-shard-2", "spot-shard-3"])


def test_a_forgotten_count_removes_nothing(cloud: Cloud) -> None:
    there = {"worker-pools list": "\\n".join(f"spot-shard-{n}" for n in range(6))}
    done = run_trusted(cloud, "deploy.sh", "release", "shards", *HERE, answers=there)
    deployed = [c for c in done.matching("run", "worker-pools", "deploy") if "--help" not in c]
    assert (done.status, len(deployed)) == (0, 6)
    assert not done.matching("run", "worker-pools", "delete")


def test_a_secret_without_a_version_is_told(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "release", "gateway", *HERE, answers={"secrets versions list": ""}
    )
    assert done.status == 1
    assert "secret spot-url-gateway has no enabled version" in done.errors


@pytest.mark.parametrize(("answer", "tries"), [("applied 0001", 1), ("", 6)])
def test_a_jobs_own_lines_are_waited_for(cloud: Cloud, answer: str, tries: int) -> None:
    begun = datetime.now(UTC).replace(microsecond=0)
    done = run_trusted(
        cloud, "migrate.sh", "--job", *HERE, "status",
        answers={"logging read": answer}, variables={"LOG_PAUSE_SECONDS": "0"},
    )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    reads = done.matching("logging", "read")
    assert len(reads) == tries
    since = {re.findall(r'AND timestamp>="(.*?)"', read[2])[0] for read in reads}
    assert begun <= datetime.fromisoformat(since.pop()) <= datetime.now(UTC)
    assert not since
    assert (answer or "no line of it has arrived yet") in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "usage: ./deploy.sh COMMAND"),
        (("fly",), "no command 'fly'"),
        (("deploy", "--shard", "2"), "unknown option --shard"),
        (("deploy", "--shards"), "--shards needs a value"),
        (("deploy", "--shards", "0"), "wanted --shards from 1 to 1000, found '0'"),
        (("deploy", "--shards", "08"), "wanted --shards from 1 to 1000, found '08'"),
        (("deploy", "--set", "quotes"), "wanted --set NAME=VALUE"),
        (("deploy", "--set", "A=1|B=2"), "wanted --set NAME=VALUE"),
        (("deploy", "--set", "SPOT_QUOTES=USD\n--no-backup"), "wanted --set NAME=VALUE"),
        (("deploy", "--set", "SPOT_QUOTE=USD"), "--set: there is no setting SPOT_QUOTE"),
        (("deploy", "--set", "POSTGRES_PASSWORD=x"), "there is no setting POSTGRES_PASSWORD"),
        (("deploy", "--set", "SHARD_COUNT=8"), "--set: SHARD_COUNT is set by this script"),
        (("deploy", "--secret", "DATABASE_URL=own:1"), "DATABASE_URL is set by this script"),
        (("deploy", "--network", "a|--no-backup"), "wanted --network without |, ; and new lines"),
        (("release", "all", "--passed-on", "--no-backup\n|x"), "--passed-on without new lines"),
        (("deploy", "--secret", "KEY=name"), "wanted --secret NAME=SECRET:VERSION"),
        (("deploy", "--secret", "KEY=name:new"), "wanted --secret NAME=SECRET:VERSION"),
        (("deploy", "--prefix", "Spot!"), "wanted a --prefix"),
        (("deploy", "--region", "Mars"), "wanted a project id and a region"),
        (("deploy", "--availability", "some"), "wanted --availability"),
        (("deploy", "--max-gateways", "0"), "wanted --min-gateways up to --max-gateways"),
        (("deploy", "--min-gateways", "08"), "and that at least 1, found 8 and 4"),
        (("deploy", "--min-gateways", "few"), "wanted --min-gateways as a whole number"),
        (("setup", "--storage-gb", "50G"), "of up to four digits, found '50G'"),
        (("setup", "--external-database"), "needs --network and --subnet"),
        (("release", "nothing"), "wanted backup, migrate"),
        (("deploy", "extra"), "unknown here: extra"),
        (("destroy",), "Delete the programs of spot in p1: nobody can be asked here"),
        (("rollback", "--tag", "v0"), "stay as they are: nobody can be asked here"),
    ],
)
def test_a_wrong_call_is_told_and_does_nothing(
    cloud: Cloud, arguments: tuple[str, ...], words: str
) -> None:
    here = HERE if arguments and "fly" not in arguments else ()
    done = run_trusted(cloud, "deploy.sh", *arguments, *here)
    assert done.status == 2, done.errors
    assert words in done.errors
    assert not [
        c
        for c in done.commands
        if {"create", "deploy", "delete", "submit"} & {*c[:4]} and "--help" not in c
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("deploy.sh", "setup"),
        ("deploy.sh", "setup", "--external-database", "--network", "n", "--subnet", "s"),
        ("deploy.sh", "deploy"),
        ("deploy.sh", "status"),
        ("deploy.sh", "deploy", "--private"),
        ("deploy.sh", "rollback"),
        ("deploy.sh", "destroy", "--with-data"),
        ("migrate.sh", "--job", "up"),
        ("migrate.sh", "--job", "down", "--force"),
    ],
)
def test_dry_run_prints_everything_and_runs_nothing(
    cloud: Cloud, arguments: tuple[str, ...]
) -> None:
    done = run_trusted(cloud, *arguments, "--dry-run", "--project", "p1")
    assert (done.status, done.errors, done.commands) == (0, "", [])
    assert done.output.count("+ gcloud ") >= 4


def test_the_readmes_walk_works_as_it_is_written(cloud: Cloud) -> None:
    section = (ROOT / "README.md").read_text().partition("## In the cloud")[2].partition("\n## ")[0]
    lines = [line.split("#")[0].split() for line in section.splitlines()]
    walk = [line for line in lines if line[:1] == ["./deploy.sh"]]
    assert [line[1] for line in walk] == [
        "setup",
        "setup",
        "deploy",
        "status",
        "rollback",
        "destroy",
    ]
    for line in walk:
        done = run_trusted(
            cloud, "deploy.sh", *line[1:], "--dry-run", variables={"PROJECT": "mine", "REGION": "asia-east1"}
        )  # fmt: skip
        assert (done.status, done.errors) == (0, "")
        assert "--project=mine" in done.output
        assert "us-central1" not in done.output


def test_dry_run_needs_neither_gcloud_nor_a_project(cloud: Cloud, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "mktemp", "od", "tr", "rm", "env", "git"):
        (tmp_path / name).symlink_to(Path("/usr/bin") / name)
    for command in ("setup", "deploy", "status"):
        done = run_trusted(
            cloud, "deploy.sh", command, "--dry-run", variables={"PATH": str(tmp_path)}
        )
        assert (done.status, done.errors) == (0, "")
        assert "your-project" in done.output


def test_help_tells_every_option(cloud: Cloud) -> None:
    done = run_trusted(cloud, "deploy.sh", "--help")
    text = (ROOT / "deploy.sh").read_text()
    for name in ("setup", "deploy", "status", "rollback", "destroy", "--dry-run", "--shards"):
        assert name in done.output
    body = text[text.index("read_options()") :]
    options = {
        word
        for word in body.replace("|", " ").replace(")", " ").split()
        if word[:2] == "--" and word[2:].replace("-", "").isalpha()
    }
    options -= {"--passed-on", "--help", "--short", "--git-dir", "--porcelain"}
    assert options <= {word.strip(",;") for word in done.output.split()}
