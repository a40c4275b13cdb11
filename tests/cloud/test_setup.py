"""deploy.sh setup and destroy: what is there, what is not, and what nobody can tell."""

import pytest

from tests.cloud.test_deploy_trouble import HERE, run_trusted
from tests.fixtures.gcloud import Cloud, CloudRun

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]
NO_VERSION = {"secrets versions list": ""}


def begun(done: CloudRun, *ways: tuple[str, ...]) -> list[str]:
    """Return the commands of these kinds, in order, by their first words."""
    return [" ".join(c[:3]) for c in done.commands if any(tuple(c[: len(w)]) == w for w in ways)]


@pytest.mark.parametrize(
    "words",
    [
        "NOT_FOUND: Secret [projects/1/secrets/spot-url-worker] not found or has no versions.",
        "HTTPError 404: The Cloud SQL instance does not exist.",
        "gs://p1-spot-source not found: 404.",
        "Cannot find service [spot-gateway]",
        "NOT_FOUND: Requested entity was not found.",
    ],
)
def test_what_is_not_there_is_made(cloud: Cloud, words: str) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "setup", *HERE, lacks=" describe ", answers=NO_VERSION,
        variables={"GCLOUD_LACKS_WORDS": words},
    )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    assert done.matching("sql", "instances", "create")


@pytest.mark.parametrize(
    "words",
    [
        "PERMISSION_DENIED: Permission 'secretmanager.secrets.get' denied for resource"
        " (or it may not exist).",
        "HTTPError 403: The client is not authorized to make this request.",
        "UNAVAILABLE: 503 The service is currently unavailable.",
        "The caller does not have permission, or the resource does not exist",
        "gcloud crashed (ConnectionError): Name or service not known",
    ],
)
def test_what_nobody_can_tell_is_taken_for_neither(cloud: Cloud, words: str) -> None:
    for command, looked in (("setup", "secrets describe"), ("destroy", "sql instances describe")):
        options = ("--yes", "--with-data") if command == "destroy" else ()
        done = run_trusted(
            cloud, "deploy.sh", command, *HERE, *options, lacks=looked,
            variables={"GCLOUD_LACKS_WORDS": words},
        )  # fmt: skip
        assert done.status == 1
        assert words in done.errors
        assert "what to do: " in done.errors
        assert " ".join(done.commands[-1][: len(looked.split())]) == looked
        assert not begun(done, ("sql", "users"), ("secrets", "create"), ("secrets", "delete"))


def test_a_password_is_changed_only_when_its_secret_can_be_kept(cloud: Cloud) -> None:
    kinds = (("secrets", "create"), ("secrets", "versions", "add"), ("sql", "users", "create"))
    made = run_trusted(
        cloud, "deploy.sh", "setup", *HERE, lacks="secrets describe", answers=NO_VERSION
    )
    assert begun(made, *kinds)[:3] == [
        "secrets create spot-url-migrate",
        "sql users create",
        "secrets versions add",
    ]
    refused = run_trusted(
        cloud, "deploy.sh", "setup", *HERE, lacks="secrets describe", refuses="secrets create"
    )
    assert refused.status == 1
    assert not refused.matching("sql", "users")


def test_a_secret_without_a_version_gets_one(cloud: Cloud) -> None:
    """What a setup leaves that ended between the two."""
    done = run_trusted(
        cloud, "deploy.sh", "setup", *HERE,
        answers={**NO_VERSION, "sql users list": "spot_migrate"},
    )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    assert not done.matching("secrets", "create")
    assert done.matching("sql", "users", "set-password")
    assert len(done.matching("secrets", "versions", "add")) == 3


@pytest.mark.parametrize("looked", ["secrets versions list", "sql users list"])
def test_a_list_that_fails_changes_no_password(cloud: Cloud, looked: str) -> None:
    answers = {} if looked.startswith("secrets") else NO_VERSION
    done = run_trusted(cloud, "deploy.sh", "setup", *HERE, refuses=looked, answers=answers)
    assert done.status == 1
    assert "what to do: " in done.errors
    assert not done.matching("sql", "users", "create")
    assert not done.matching("secrets", "versions", "add")
