"""The fetched script: only the known one, and nothing done where it is there."""

import zipfile
from pathlib import Path

import pytest

from spot.errors import LocalError
from spot.gateway import assets


def test_wheel_with_another_script_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(assets.MEMBER, "alert(1)")
    with pytest.raises(LocalError, match="does not hold"):
        assets.read_script(wheel)
    wheel.write_bytes(b"not a wheel")
    with pytest.raises(LocalError, match="does not hold"):
        assets.read_script(wheel)


def test_damaged_script_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "datastar.js"
    assert not assets.has_datastar(path)
    path.write_text("alert(1)")
    assert not assets.has_datastar(path)


@pytest.mark.skipif(not assets.has_datastar(), reason="the page's script is not fetched here")
def test_nothing_is_fetched_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / assets.DATASTAR.name).write_bytes(assets.DATASTAR.read_bytes())
    assert assets.fetch(tmp_path) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [assets.DATASTAR.name]
