"""Where files go, what belongs to the host, and what the markers know after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.host.units.errors import UnitNameError, UnitNotOursError
from skerry.host.units.name import parse_name
from skerry.host.units.place import Placement, placement
from skerry.host.units.placed import Marker, PlacedUnits, Stage

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "[Service]\nExecStart=/bin/true\n"


def placed(name: str, text: str = TEXT, **more: list[tuple[str, str]]) -> Placement:
    return placement(parse_name(name), text, more.get("drop_ins", []), more.get("files", []))


def marker(p: Placement, stage: Stage = Stage.PLACING) -> Marker:
    return Marker(p.name.full, p.service, "i", "h", stage, tuple(str(f.path) for f in p.files))


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("web.service", ["run/systemd/system/web.service", "run/systemd/system/web.service.d/10-a.conf"]),
        ("web@1.timer", ["run/systemd/system/web@1.timer", "run/systemd/system/web@1.timer.d/10-a.conf"]),
        (
            "w.container",
            ["run/containers/systemd/w.container", "run/containers/systemd/w.container.d/10-a.conf"],
        ),
    ],
)
def test_paths(name: str, paths: list[str]) -> None:
    files = placed(name, drop_ins=[("10-a.conf", TEXT)]).files
    assert [str(f.path) for f in files] == paths


def test_files_stand_beside_a_quadlet() -> None:
    files = placed("w.kube", "[Kube]\nYaml=w.yml\n", files=[("w.yml", "kind: Pod\n")]).files
    assert str(files[1].path) == "run/containers/systemd/w.yml"


@pytest.mark.parametrize(
    ("name", "text", "installs"),
    [
        ("web.service", TEXT, False),
        ("web.service", TEXT + "[Install]\nWantedBy=multi-user.target\n", True),
        ("web.container", "[Container]\nImage=x\n[Install]\nWantedBy=multi-user.target\n", False),
    ],
)
def test_install_sections_of_systemd_units_need_links(name: str, text: str, *, installs: bool) -> None:
    assert placed(name, text).installs is installs


@pytest.mark.parametrize(
    ("name", "text", "host_file"),
    [
        ("sshd.service", TEXT, "usr/lib/systemd/system/sshd.service"),
        ("sshd.service", TEXT, "etc/systemd/system/sshd.service"),
        ("sshd.service", TEXT, "run/systemd/system/sshd.service"),
        ("var.mount", TEXT, "run/systemd/generator/var.mount"),
        ("getty@tty1.service", TEXT, "usr/lib/systemd/system/getty@.service"),
        ("web.service", TEXT + "[Install]\nAlias=ssh.service\n", "usr/lib/systemd/system/ssh.service"),
        ("ssh.container", "[Container]\nImage=x\n", "usr/lib/systemd/system/ssh.service"),
        ("w.container", "[Container]\nImage=x\nServiceName=ssh\n", "usr/lib/systemd/system/ssh.service"),
        ("w.container", "[Container]\nImage=x\n", "etc/containers/systemd/w.container"),
        ("w.container", "[Container]\nImage=x\n", "run/systemd/system/w.service"),
        ("w.service", TEXT, "run/systemd/generator/w.service"),
    ],
)
def test_units_of_the_host_are_neither_touched_nor_hidden(
    name: str, text: str, host_file: str, tmp_path: Path
) -> None:
    path = tmp_path / host_file
    path.parent.mkdir(parents=True)
    path.write_text("the host's")
    p = placed(name, text)
    with pytest.raises(UnitNotOursError, match="not Skerry's"):
        PlacedUnits(tmp_path).place(p, marker(p))
    assert path.read_text() == "the host's"
    assert PlacedUnits(tmp_path).read() == {}


@pytest.mark.parametrize("file", ["../../../etc/shadow", "/etc/shadow", ".hidden", "a/b.conf"])
def test_no_file_name_leads_out_of_the_directory(file: str) -> None:
    with pytest.raises(UnitNameError):
        placed("web.service", drop_ins=[(file, TEXT)])
    with pytest.raises(UnitNameError):
        placed("web.kube", "[Kube]\nYaml=x\n", files=[(file, TEXT)])


def test_parts_of_systemd_are_refused(tmp_path: Path) -> None:
    p = placed("system.slice", "[Slice]\nMemoryMax=1\n")
    with pytest.raises(UnitNotOursError, match="part of systemd"):
        PlacedUnits(tmp_path).place(p, marker(p))


def test_a_generated_service_of_our_own_quadlet_is_no_obstacle(tmp_path: Path) -> None:
    p = placed("w.container", "[Container]\nImage=x\n")
    generated = tmp_path / "run/systemd/generator/w.service"
    generated.parent.mkdir(parents=True)
    generated.write_text("[Unit]\nSourcePath=/run/containers/systemd/w.container\n")
    units = PlacedUnits(tmp_path)
    units.place(p, marker(p))
    units.place(p, marker(p))
    assert units.read_one("w.container") == marker(p)


def test_a_mask_by_the_administrator_is_respected(tmp_path: Path) -> None:
    mask = tmp_path / "etc/systemd/system/web.service"
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    p = placed("web.service")
    with pytest.raises(UnitNotOursError):
        PlacedUnits(tmp_path).place(p, marker(p))


def test_place_and_delete(tmp_path: Path) -> None:
    units = PlacedUnits(tmp_path)
    p = placed("web.service", drop_ins=[("10-a.conf", TEXT)])
    units.place(p, marker(p))
    assert (tmp_path / "run/systemd/system/web.service").read_text() == TEXT
    units.delete(marker(p, Stage.REMOVING))
    assert list((tmp_path / "run/systemd/system").iterdir()) == []
    assert units.read() == {"web.service": marker(p, Stage.REMOVING)}
    units.forget("web.service")
    assert units.read() == {}


def test_a_loaded_unit_whose_file_went_away_is_to_be_placed_again(tmp_path: Path) -> None:
    units = PlacedUnits(tmp_path)
    p = placed("web.service")
    units.place(p, marker(p, Stage.LOADED))
    assert units.read()["web.service"].stage is Stage.LOADED
    (tmp_path / "run/systemd/system/web.service").unlink()
    assert units.read()["web.service"].stage is Stage.PLACING


def test_a_marker_that_cannot_be_read_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "run/skerry/units"
    folder.mkdir(parents=True)
    (folder / "web.service").write_text("{")
    (folder / ".web.service.x").write_text("half")
    assert PlacedUnits(tmp_path).read() == {}
    assert [p.name for p in folder.iterdir()] == ["web.service"]
    assert "left alone" in caplog.text
