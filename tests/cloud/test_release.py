"""deploy.sh release shards: how many there are, and how many are deployed at a time."""

import os
from pathlib import Path

import pytest

from tests.cloud.test_deploy_trouble import HERE, run_trusted
from tests.fixtures.gcloud import Cloud

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

EIGHT = {"worker-pools list": "\\n".join(f"spot-shard-{n}" for n in range(8))}

# Stands in for gcloud: a deploy lasts until sixteen have begun, and leaves how many ran beside it. It
# runs before it has begun: whoever counts the sixteen that have begun finds all of them running.
CROWD = """#!/usr/bin/env bash
case "$*" in
    *"secrets versions list"*) echo 7 ;;
    *"images describe"*) echo sha256:abc ;;
    *"worker-pools deploy spot-shard-"*)
        touch "$CROWD/running.$$"
        touch "$CROWD/begun.$$"
        until begun=("$CROWD"/begun.*) && ((${#begun[@]} >= 16)); do sleep 0.02; done
        running=("$CROWD"/running.*)
        echo "${#running[@]}" >>"$CROWD/seen"
        rm "$CROWD/running.$$"
        ;;
esac
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("release", "shards"),
        ("release", "shards", "--shards", "3"),
        ("rollback", "--yes"),
        ("rollback", "--yes", "--tag", "v0"),
        ("destroy", "--yes", "--with-data"),
    ],
)
def test_a_list_that_fails_is_not_an_empty_one(cloud: Cloud, arguments: tuple[str, ...]) -> None:
    done = run_trusted(cloud, "deploy.sh", *arguments, *HERE, refuses="worker-pools list")
    assert done.status == 1
    assert "what to do: " in done.errors
    assert not [c for c in done.commands if {"delete", "update", "rm"} & {*c[:4]}]
    # Where the count is not needed, the shards are deployed before the list is.
    if "--shards" not in arguments:
        deployed = [c for c in done.matching("run", "worker-pools", "deploy") if "--help" not in c]
        assert not deployed


def test_the_build_counts_unless_it_is_told(cloud: Cloud) -> None:
    for arguments, told in (((), False), (("--shards", "3"), True)):
        done = run_trusted(
            cloud, "deploy.sh", "deploy", *HERE, *arguments,
            answers=EIGHT, variables={"HEALTH_SECONDS": "0"},
        )  # fmt: skip
        [submitted] = done.matching("builds", "submit")
        assert ("_SHARD_COUNT=3" in str(submitted)) is told
        assert ("_SHARD_COUNT" in str(submitted)) is told


def test_at_most_sixteen_shards_are_deployed_at_a_time(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "gcloud").write_text(CROWD)
    (tmp_path / "gcloud").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CROWD": str(tmp_path)}
    done = run_trusted(
        cloud, "deploy.sh", "release", "shards", *HERE, "--shards", "40", variables=variables
    )
    assert (done.status, done.errors) == (0, "")
    seen = [int(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert len(seen) == 40
    assert max(seen) == 16
