"""deploy.sh deploy: the name of what is built."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cloud.test_deploy_trouble import HERE, run_trusted
from tests.fixtures.gcloud import Cloud

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments],  # noqa: S607 - the developer's own
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout.strip()  # fmt: skip


def tag_built(cloud: Cloud, root: Path, *options: str) -> str:
    """Return the image's tag that a deploy hands to the build."""
    done = run_trusted(
        cloud, "deploy.sh", "deploy", *HERE, *options, root=root, variables={"HEALTH_SECONDS": "0"}
    )
    [submitted] = done.matching("builds", "submit")
    [tag] = re.findall(r"_TAG=([^;]*)", " ".join(submitted))
    return str(tag)


def test_a_tree_that_is_not_committed_has_a_name_of_its_own(
    cloud: Cloud, changed_scripts: Path
) -> None:
    git(changed_scripts, "init", "--quiet")
    git(changed_scripts, "add", ".")
    git(changed_scripts, "commit", "--quiet", "--message", "all")
    commit = git(changed_scripts, "rev-parse", "--short", "HEAD")
    assert tag_built(cloud, changed_scripts) == commit
    (changed_scripts / "new.py").touch()
    assert re.fullmatch(rf"{commit}-dirty-\d{{8}}T\d{{6}}Z", tag_built(cloud, changed_scripts))
    assert tag_built(cloud, changed_scripts, "--tag", "v1") == "v1"


def test_help_is_not_a_deploy(cloud: Cloud) -> None:
    for asked in ("-h", "--help"):
        done = run_trusted(cloud, "deploy.sh", "deploy", asked)
        assert (done.status, done.errors, done.commands) == (0, "", [])
        assert done.output.startswith("usage: ./deploy.sh COMMAND")
