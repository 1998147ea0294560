"""Units checked by the real systemd-analyze and Podman's real generator, where this machine has them."""

from __future__ import annotations

import shutil

import pytest

from skerry.host.units.check import check_unit
from skerry.host.units.quadlet import generator
from skerry.kit.errors import Severity

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
needs_podman = pytest.mark.skipif(generator() is None, reason="needs Podman's generator")

HELLO = """\
[Unit]
Description=Hello World
Requires=docker.service
After=docker.service

[Service]
Restart=on-failure
ExecStartPre=-/usr/bin/docker kill helloworld
ExecStart=/usr/bin/docker run --name helloworld \\
                              -P \\
                              tutum/hello-world

[X-Fleet]
Global=true
"""


def errors(name: str, text: str, **companions: str) -> list[tuple[int | None, str]]:
    others = {key.replace("_", "."): value for key, value in companions.items()}
    return [(p.line, p.message) for p in check_unit(name, text, others) if p.severity is Severity.ERROR]


def warnings(name: str, text: str) -> list[tuple[int | None, str]]:
    return [(p.line, p.message) for p in check_unit(name, text) if p.severity is Severity.WARNING]


@needs_systemd
def test_the_unit_of_the_documentation_is_accepted_as_it_stands() -> None:
    assert errors("helloworld.service", HELLO) == []
    assert all(
        "docker is not an executable" in message for _, message in warnings("helloworld.service", HELLO)
    )


@needs_systemd
def test_a_service_without_a_command_is_refused() -> None:
    assert "no ExecStart=" in errors("a.service", "[Service]\nType=simple\n")[0][1]


@needs_systemd
def test_an_unknown_key_only_warns() -> None:
    text = "[Unit]\nAfterr=x.service\n\n[Service]\nExecStart=/bin/sh\nTyp=simple\n"
    assert errors("a.service", text) == []
    assert [line for line, _ in warnings("a.service", text)] == [2, 6]


@needs_systemd
def test_a_template_is_checked_as_an_instance() -> None:
    assert errors("a@.service", "[Service]\nExecStart=/bin/sh -c %i\n") == []


@needs_podman
def test_a_quadlet_is_accepted() -> None:
    assert check_unit("a.container", "[Container]\nImage=quay.io/x/y:1\n") == []


@needs_podman
def test_an_empty_section_is_a_quadlet() -> None:
    assert check_unit("a.volume", "[Volume]\n") == []


@needs_podman
def test_every_unknown_key_is_told_at_once_with_what_was_meant() -> None:
    text = "[Container]\nImage=quay.io/x/y:1\nVolum=/a:/b\nPublishPorts=80:80\n"
    problems = check_unit("a.container", text)
    assert [(p.line, p.hint) for p in problems] == [
        (3, "did you mean Volume=?"),
        (4, "did you mean PublishPort=?"),
    ]


@needs_podman
def test_a_missing_companion_warns_and_a_present_one_does_not() -> None:
    text = "[Container]\nImage=quay.io/x/y:1\nVolume=data.volume:/data\n"
    assert warnings("a.container", text) == [(3, "data.volume is named here and not known yet")]
    assert check_unit("a.container", text, {"data.volume": "[Volume]\n"}) == []


@needs_podman
def test_what_podman_refuses_is_refused() -> None:
    assert errors("a.container", "[Container]\nExec=x\n") == [
        (None, "Podman refuses: no Image or Rootfs key specified")
    ]


@needs_podman
@needs_systemd
def test_systemd_sees_the_generated_service() -> None:
    text = "[Container]\nImage=quay.io/x/y:1\n\n[Service]\nRestrt=always\n\n[Servce]\nA=b\n"
    assert [line for line, _ in warnings("a.container", text)] == [5, 7]
