"""Instances of templates: `web@1.service` takes its text from `web@.service`.

The text is copied as it stands: systemd and the requirements replace `%i` themselves.
"""

from __future__ import annotations

from skerry.host.units.errors import UnitNameError
from skerry.host.units.name import UnitName, parse_name


def instance_of(template: UnitName, instance: str) -> UnitName:
    """The name of one instance. Raises UnitNameError for what is no template or no instance."""
    if not template.is_template:
        raise UnitNameError(f"{template} is not a template", hint=f"a template is named {template.prefix}@…")
    if not instance:
        raise UnitNameError(
            f"an instance of {template} needs a name", hint=f"{template.prefix}@1.{template.suffix}"
        )
    return parse_name(f"{template.prefix}@{instance}.{template.suffix}")


def lookup_order(name: UnitName) -> tuple[str, ...]:
    """The names under which the text of a unit may be found: its own, then its template's."""
    return (name.full,) if name.template is None else (name.full, name.template)
