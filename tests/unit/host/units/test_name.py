"""Names of units: what is taken, what is refused with a sentence, and what a Quadlet file becomes."""

from __future__ import annotations

import pytest

from skerry.host.units.errors import UnitNameError
from skerry.host.units.name import complete_name, generated_service, parse_name
from skerry.host.units.template import instance_of, lookup_order


@pytest.mark.parametrize(
    ("text", "prefix", "instance", "suffix"),
    [
        ("web.service", "web", None, "service"),
        ("web@.service", "web", "", "service"),
        ("web@1.service", "web", "1", "service"),
        ("web@a@b.service", "web", "a@b", "service"),
        ("a.b-c_d:e\\x2d.timer", "a.b-c_d:e\\x2d", None, "timer"),
        ("app.container", "app", None, "container"),
        ("app@2.container", "app", "2", "container"),
    ],
)
def test_names_are_taken_apart(text: str, prefix: str, instance: str | None, suffix: str) -> None:
    name = parse_name(text)
    assert (name.prefix, name.instance, name.suffix) == (prefix, instance, suffix)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a name"),
        ("web", "no suffix"),
        ("web.conf", "no suffix"),
        (".service", "nothing before"),
        ("@.service", "must not begin with @"),
        ("@a.service", "must not begin with @"),
        ("a/b.service", "'/'"),
        ("../x.service", "'/'"),
        ("a b.service", "' '"),
        ("a\nb.service", "must not contain"),
        ("ünit.service", "'ü'"),
        ("x" * 248 + ".service", "at most 255"),
        ("web@.mount", "cannot be a template"),
        ("data@.volume", "cannot be a template"),
    ],
)
def test_other_names_are_refused(text: str, said: str) -> None:
    with pytest.raises(UnitNameError, match=said.replace(".", r"\.")):
        parse_name(text)


def test_the_longest_name_is_taken() -> None:
    assert parse_name("x" * 247 + ".service").suffix == "service"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("web", "web.service"),
        ("web.service", "web.service"),
        ("web@1", "web@1.service"),
        ("web.v2", "web.v2.service"),
        ("app.container", "app.container"),
        ("a.timer", "a.timer"),
    ],
)
def test_a_missing_suffix_means_service(typed: str, meant: str) -> None:
    assert complete_name(typed) == meant


@pytest.mark.parametrize(
    ("name", "chosen", "service"),
    [
        ("web.service", None, "web.service"),
        ("a.timer", None, "a.timer"),
        ("app.container", None, "app.service"),
        ("app.kube", None, "app.service"),
        ("app.pod", None, "app-pod.service"),
        ("app.volume", None, "app-volume.service"),
        ("app.network", None, "app-network.service"),
        ("app.image", None, "app-image.service"),
        ("app.build", None, "app-build.service"),
        ("app@1.container", None, "app@1.service"),
        ("app@.container", None, "app@.service"),
        ("app.container", "other", "other.service"),
        ("app.volume", "data", "data.service"),
    ],
)
def test_the_service_of_a_quadlet_file(name: str, chosen: str | None, service: str) -> None:
    assert generated_service(parse_name(name), chosen) == service


def test_instances() -> None:
    template = parse_name("web@.service")
    instance = instance_of(template, "1")
    assert (instance.full, instance.template) == ("web@1.service", "web@.service")
    assert lookup_order(instance) == ("web@1.service", "web@.service")
    assert lookup_order(parse_name("web.service")) == ("web.service",)


@pytest.mark.parametrize(
    ("template", "instance"), [("web.service", "1"), ("web@.service", ""), ("web@.service", "a/b")]
)
def test_what_is_no_instance_is_refused(template: str, instance: str) -> None:
    with pytest.raises(UnitNameError):
        instance_of(parse_name(template), instance)
