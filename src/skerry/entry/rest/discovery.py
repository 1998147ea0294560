"""fleet's discovery document: Google's description of a REST API, from which clients are generated.

Format: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.kit.http import Json

_PAGES = {"nextPageToken": "string"}
_SCHEMAS: dict[str, dict[str, str]] = {
    "Machine": {"id": "string", "primaryIP": "string", "metadata": "map"},
    "MachinePage": {"machines": "[Machine", **_PAGES},
    "UnitOption": {"section": "string", "name": "string", "value": "string"},
    "Unit": {
        "name": "string",
        "options": "[UnitOption",
        "desiredState": "state",
        "currentState": "state",
        "machineID": "string",
    },
    "UnitPage": {"units": "[Unit", **_PAGES},
    "UnitState": {
        "name": "string",
        "hash": "string",
        "machineID": "string",
        "systemdLoadState": "string",
        "systemdActiveState": "string",
        "systemdSubState": "string",
    },
    "UnitStatePage": {"states": "[UnitState", **_PAGES},
}
# resource, method: HTTP method, path, path parameter, query parameters, request, response
_METHODS: tuple[tuple[str, str, str, str, str, tuple[str, ...], str, str], ...] = (
    ("Machines", "List", "GET", "machines", "", ("nextPageToken",), "", "MachinePage"),
    ("Units", "List", "GET", "units", "", ("nextPageToken",), "", "UnitPage"),
    ("Units", "Get", "GET", "units/{unitName}", "unitName", (), "", "Unit"),
    ("Units", "Set", "PUT", "units/{unitName}", "unitName", (), "Unit", ""),
    ("Units", "Delete", "DELETE", "units/{unitName}", "unitName", (), "", ""),
    (
        "UnitState",
        "List",
        "GET",
        "state",
        "",
        ("nextPageToken", "unitName", "machineID"),
        "",
        "UnitStatePage",
    ),
    ("UnitState", "Get", "GET", "state/{unitName}", "unitName", (), "", "UnitState"),
)


def discovery_document(prefix: str) -> Json:
    """The document, for an API that is reached under `prefix`."""
    resources: dict[str, Json] = {}
    for resource in dict.fromkeys(row[0] for row in _METHODS):
        methods: dict[str, Json] = {row[1]: _method(row) for row in _METHODS if row[0] == resource}
        resources[resource] = {"methods": methods}
    schemas: dict[str, Json] = {name: _schema(name, fields) for name, fields in _SCHEMAS.items()}
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fleet:v1",
        "name": "schema",
        "version": "v1",
        "title": "fleet API",
        "description": "",
        "documentationLink": "https://github.com/coreos/fleet",
        "protocol": "rest",
        "icons": {"x16": "", "x32": ""},
        "labels": [],
        "baseUrl": "$ENDPOINT" + prefix,
        "basePath": f"{prefix}/",
        "rootUrl": "$ENDPOINT/",
        "servicePath": f"{prefix.lstrip('/')}/",
        "batchPath": "batch",
        "parameters": {},
        "auth": {},
        "schemas": schemas,
        "resources": resources,
    }


def _schema(name: str, fields: dict[str, str]) -> Json:
    properties: dict[str, Json] = {field: _type(kind) for field, kind in fields.items()}
    return {"id": name, "type": "object", "properties": properties}


def _type(kind: str) -> Json:
    if kind == "map":
        return {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    if kind == "state":
        return {"type": "string", "enum": ["inactive", "loaded", "launched"]}
    if kind.startswith("["):
        return {"type": "array", "items": {"$ref": kind[1:]}}
    return {"type": kind}


def _method(row: tuple[str, str, str, str, str, tuple[str, ...], str, str]) -> Json:
    resource, method, http_method, path, in_path, in_query, request, response = row
    parameters: dict[str, Json] = {name: {"type": "string", "location": "query"} for name in in_query}
    if in_path:
        parameters[in_path] = {"type": "string", "location": "path", "required": True}
    described: dict[str, Json] = {
        "id": f"fleet.{resource[0].lower()}{resource[1:]}.{method}",
        "httpMethod": http_method,
        "path": path,
        "parameters": parameters,
    }
    if in_path:
        described["parameterOrder"] = [in_path]
    if request:
        described["request"] = {"$ref": request}
    if response:
        described["response"] = {"$ref": response}
    return described
