"""The fetched scripts: only the known ones, and nothing done where they are there."""

import dataclasses
import hashlib
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


def pip_finds(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip look for wheels in `folder` and nowhere else."""
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_script_comes_out_of_its_wheel_with_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_finds(monkeypatch, tmp_path / "wheels")
    script = b"export const known = true"
    asset = dataclasses.replace(
        assets.CHARTS, requirement="carrier==1.0", sha256=hashlib.sha256(script).hexdigest()
    )
    info = "carrier-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "wheels" / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(asset.member, script)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    vendor = tmp_path / "vendor"
    assert assets.fetch(asset, vendor) is True
    assert (vendor / asset.name).read_bytes() == script
    assert (vendor / asset.licence_name).read_text() == asset.notice
    assert len(list(vendor.iterdir())) == 2
    assert assets.fetch(asset, vendor) is False


def test_what_cannot_be_fetched_is_a_line_each_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip_finds(monkeypatch, tmp_path / "wheels")
    nowhere = [dataclasses.replace(asset, sha256="0" * 64) for asset in assets.ASSETS]
    monkeypatch.setattr(assets, "ASSETS", nowhere)
    assert assets.main() == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert [line.split(" could not")[0] for line in lines] == [
        f"the page's {asset.name}" for asset in nowhere
    ]
    assert all("pip cannot download" in line for line in lines)
    assert told.out == ""
