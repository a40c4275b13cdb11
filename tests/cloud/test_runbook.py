"""docs/operations.md: the gcloud commands it gives are judged by gcloud's own parser, too."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.gcloud import ROOT

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]
VALUES = {"PROJECT": "p1", "REGION": "us-central1", "HOME": "/h", "name": "worker"}


def commands() -> list[list[str]]:
    """Every gcloud command of the runbook's blocks, and of what stands in back quotes."""
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    quoted = re.findall(r"`(gcloud [^`.]*(?:\.\d|[^`.])*)`", text)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines() + quoted
    found = re.findall(r"(?<![\w-])gcloud (?!auth login|auth:)[^|\n]*", "\n".join(lines))
    for name, value in VALUES.items():
        found = [line.replace(f"${name}", value) for line in found]
    return [shlex.split(line.rstrip(" )")) for line in found]


@pytest.mark.usefixtures("cloud")
def test_gcloud_accepts_every_command_of_the_runbook(tmp_path: Path) -> None:
    found = [command for command in commands() if "..." not in " ".join(command)]
    assert len(found) >= 8
    for command in found:
        if "--project" not in command:  # the operator's configured one
            command += ["--project", "p1"]
        done = subprocess.run(
            ["/bin/bash", str(ROOT / "tests/cloud/gcloud"), *command[1:]],
            env={"PATH": "/usr/bin:/bin", "GCLOUD_LOG": str(tmp_path / "log")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), command


def test_compose_is_named_by_its_file() -> None:
    """From the repository's root, where the runbook is read, it finds nothing by itself."""
    for path in (
        ROOT / "docs" / "operations.md",
        ROOT / "README.md",
        ROOT / "compose/compose.yaml",
    ):
        for line in path.read_text().splitlines():
            assert "docker compose -f compose/compose.yaml" in line or "docker compose " not in line
