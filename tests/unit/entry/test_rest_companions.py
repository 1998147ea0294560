"""What a Quadlet file names goes with it."""

from __future__ import annotations

from skerry.entry.rest.companions import companions_to_load
from skerry.fleet.state.unit import DesiredState, UnitRecord

APP = "[Container]\nImage=x\nVolume=data.volume:/data\nPod=web.pod\nVolume=gone.volume:/gone\n"
STORED = {
    "app.container": UnitRecord("app.container", APP, "h"),
    "data.volume": UnitRecord("data.volume", "[Volume]\n", "h"),
    "web.pod": UnitRecord("web.pod", "[Pod]\nNetwork=net.network\n", "h"),
    "net.network": UnitRecord("net.network", "[Network]\n", "h"),
    "other.volume": UnitRecord("other.volume", "[Volume]\n", "h"),
    "plain.service": UnitRecord("plain.service", "[Service]\nExecStart=data.volume\n", "h"),
}


def test_companions_and_theirs_are_loaded() -> None:
    changed = companions_to_load(["app.container"], STORED.get)
    assert sorted(changed) == ["data.volume", "net.network", "web.pod"]
    assert {record.desired for record in changed.values()} == {DesiredState.LOADED}


def test_those_that_are_asked_for_or_loaded_already_stay_as_they_are() -> None:
    launched = STORED["net.network"].wanting(DesiredState.LAUNCHED)
    changed = companions_to_load(["app.container", "data.volume"], {**STORED, "net.network": launched}.get)
    assert sorted(changed) == ["web.pod"]


def test_units_of_systemd_have_none() -> None:
    assert companions_to_load(["plain.service"], STORED.get) == {}
