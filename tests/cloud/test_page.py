"""deploy.sh at a page that is up: who may open it, whether it is healthy, and the way back."""

import pytest

from tests.cloud.test_deploy_trouble import HERE, run_trusted
from tests.fixtures.gcloud import Cloud, health_page

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.mark.parametrize("status", [200, 503])
def test_deploy_waits_for_health(cloud: Cloud, status: int) -> None:
    with health_page(status) as url:
        done = run_trusted(cloud,
            "deploy.sh", "rollback", *HERE, "--yes", "--tag", "v0",
            answers={"status.url": url}, variables={"HEALTH_SECONDS": "0"},
        )  # fmt: skip
    if status == 200:
        assert (done.status, done.errors) == (0, "")
        assert done.output.endswith(f"# healthy: {url}\n")
    else:
        assert done.status == 1
        assert "HTTP 503" in done.errors
        assert "./deploy.sh rollback" in done.errors


def test_one_good_answer_is_not_health_yet(cloud: Cloud) -> None:
    """The former shards may have been seen a moment ago."""
    with health_page(200, 503) as url:
        done = run_trusted(cloud,
            "deploy.sh", "rollback", *HERE, "--yes", "--tag", "v0",
            answers={"status.url": url}, variables={"HEALTH_SECONDS": "0"},
        )  # fmt: skip
    assert done.status == 1
    assert "HTTP 503" in done.errors
    with health_page(503, 200, 503, 200) as url:
        done = run_trusted(cloud,
            "deploy.sh", "rollback", *HERE, "--yes", "--tag", "v0", answers={"status.url": url}
        )  # fmt: skip
    assert (done.status, done.errors) == (0, "")


@pytest.mark.parametrize(("held", "status"), [("good", 0), ("other", 1), ("", 1)])
@pytest.mark.parametrize("command", ["deploy", "rollback", "status"])
def test_a_private_page_is_asked_with_the_operators_token(
    cloud: Cloud, command: str, held: str, status: int
) -> None:
    options = {"deploy": ("--private",), "rollback": ("--yes", "--tag", "v0"), "status": ()}
    with health_page(reader="good") as url:
        done = run_trusted(cloud,
            "deploy.sh", command, *HERE, *options[command],
            answers={"status.url": url, "print-identity-token": held} if held else {"status.url": url},
            variables={"HEALTH_SECONDS": "0"},
        )  # fmt: skip
    assert done.status == status, done.errors
    said = done.output + done.errors
    assert "HTTP 403: you need roles/run.invoker" in said or not status
    assert not held or held not in said


@pytest.mark.parametrize("status", [200, 503])
def test_status_ends_well_only_if_all_is_well(cloud: Cloud, status: int) -> None:
    with health_page(status) as url:
        done = run_trusted(cloud, "deploy.sh", "status", *HERE, answers={"status.url": url})
    assert done.status == (status != 200)
    assert f'{{"status":"told"}}\nHTTP {status}\n' in done.output


def test_where_the_public_is_forbidden_the_maintenance_is_scheduled_first(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "deploy", *HERE, refuses="allUsers", lacks="scheduler jobs describe"
    )
    assert done.status == 1
    assert done.matching("scheduler", "jobs", "create")
    assert done.commands[-1][:4] == ["run", "services", "add-iam-policy-binding", "spot-gateway"]
    assert "gcloud run services update spot-gateway" in done.errors
    assert "--no-invoker-iam-check" in done.errors


def test_a_page_that_checks_nobody_needs_no_binding(cloud: Cloud) -> None:
    with health_page() as url:
        done = run_trusted(
            cloud, "deploy.sh", "deploy", *HERE,
            answers={"invoker-iam-disabled": "true", "status.url": url},
        )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    assert not done.matching("run", "services", "add-iam-policy-binding")


NEW, NOW, FORMER = (f"registry/spot@sha256:{name}" for name in ("new", "now", "former"))


@pytest.mark.parametrize(
    ("shards", "goal"),
    [
        ([NOW, NOW], FORMER),
        # A deploy that ended among the shards, or before the gateway.
        ([NOW, NEW], NOW),
        ([NEW, NEW], NOW),
        # A rollback that ended among the shards.
        ([FORMER, NOW], FORMER),
        ([], FORMER),
    ],
)
def test_rollback_goes_back_by_one_deploy(cloud: Cloud, shards: list[str], goal: str) -> None:
    listed = "\\n".join(f"spot-shard-{n}\\t{image}" for n, image in enumerate(shards))
    with health_page() as url:
        done = run_trusted(
            cloud, "deploy.sh", "rollback", *HERE, "--yes",
            answers={
                "worker-pools list .*containers": listed,
                "worker-pools list": "spot-shard-0\\nspot-shard-1",
                "revisions list": f"{NOW}\\n{NOW}\\n{FORMER}",
                "docker images list": "v41;stable",
                "status.url": url,
            },
        )  # fmt: skip
    assert (done.status, done.errors) == (0, "")
    updates = done.matching("run", "worker-pools", "update")
    updates += done.matching("run", "services", "update")
    assert len(updates) == 3
    assert all(f"--image={goal}" in update for update in updates)
    assert f"going back to {goal} (v41;stable)" in done.output


def test_rollback_asks_with_the_tags(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "rollback", *HERE,
        answers={"revisions list": f"{NOW}\\n{FORMER}", "docker images list": "v41"},
    )  # fmt: skip
    assert done.status == 2
    assert f"Go back to {FORMER} (v41) in 4 shards" in done.errors
    assert not done.matching("run", "services", "update")


def test_without_a_former_image_nothing_goes_back(cloud: Cloud) -> None:
    done = run_trusted(
        cloud, "deploy.sh", "rollback", *HERE, "--yes", answers={"revisions list": NOW}
    )
    assert done.status == 1
    assert "there is no former image" in done.errors
