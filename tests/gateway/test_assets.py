"""The fetched scripts: only the known ones, and nothing done where they are there."""

import zipfile
from pathlib import Path

import pytest

from spot.errors import LocalError
from spot.gateway import assets

BOTH = pytest.mark.parametrize("asset", assets.ASSETS, ids=lambda asset: asset.name)


@BOTH
def test_wheel_with_another_script_is_refused(asset: assets.Asset, tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(asset.member, "alert(1)")
    with pytest.raises(LocalError, match="does not hold"):
        assets.read_script(asset, wheel)
    wheel.write_bytes(b"not a wheel")
    with pytest.raises(LocalError, match="does not hold"):
        assets.read_script(asset, wheel)


@BOTH
def test_damaged_script_does_not_count(asset: assets.Asset, tmp_path: Path) -> None:
    assert not asset.is_in(tmp_path)
    (tmp_path / asset.name).write_text("alert(1)")
    assert not asset.is_in(tmp_path)
    assert not assets.is_complete(tmp_path)


@BOTH
def test_nothing_is_fetched_where_it_is_there(asset: assets.Asset, tmp_path: Path) -> None:
    if not asset.is_in(assets.VENDOR):
        pytest.skip("the page's scripts are not fetched here")
    (tmp_path / asset.name).write_bytes((assets.VENDOR / asset.name).read_bytes())
    assert assets.fetch(asset, tmp_path) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [asset.name]


@BOTH
def test_every_script_comes_with_its_licence(asset: assets.Asset) -> None:
    assert "Copyright (c)" in asset.notice
    assert asset.licence_name == f"{asset.name.removesuffix('.js')}.LICENSE.txt"
