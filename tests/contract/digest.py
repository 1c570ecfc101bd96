#!/usr/bin/env python3
"""Writes the facts of the API's contract without its texts, or checks that they are unchanged.

    digest.py SERVER CLIENTS            writes server.json and clients.json beside this file
    digest.py --check SERVER CLIENTS    fails when either would change; passes where a source is absent

SERVER and CLIENTS are OpenAPI documents. Of the clients' document only the operations that
docs/api.md lists are kept.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "docs" / "api.md"
METHODS = ("get", "head", "post", "put", "patch", "delete")
SCHEMA_FACTS = [
    "$ref",
    "type",
    "format",
    "enum",
    "required",
    "nullable",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "default",
    "multipleOf",
]


def schema(found):
    """The facts of a schema, and those of its parts."""
    if not isinstance(found, dict):
        return found
    kept = {name: found[name] for name in SCHEMA_FACTS if name in found}
    for name in ("oneOf", "anyOf", "allOf"):
        if name in found:
            kept[name] = [schema(part) for part in found[name]]
    for name in ("items", "additionalProperties"):
        if name in found:
            kept[name] = schema(found[name])
    if "properties" in found:
        kept["properties"] = {name: schema(one) for name, one in found["properties"].items()}
    return kept


def content(found):
    body = found.get("content", {}).get("application/json", {})
    if "schema" not in body:
        return {}
    return {"content": {"application/json": {"schema": schema(body["schema"])}}}


def operation(found):
    kept = {
        "parameters": [
            {"in": one["in"], "name": one["name"], "required": one.get("required", False)}
            | {"schema": schema(one["schema"])}
            for one in found.get("parameters", [])
        ],
        "responses": {status: content(one) for status, one in found["responses"].items()},
    }
    if "requestBody" in found:
        kept["requestBody"] = content(found["requestBody"])
    return kept


def references(found):
    if isinstance(found, dict):
        if isinstance(found.get("$ref"), str):
            yield found["$ref"].rsplit("/", 1)[1]
        for one in found.values():
            yield from references(one)
    elif isinstance(found, list):
        for one in found:
            yield from references(one)


def digest(document, admits):
    """The operations that `admits`, and the schemas that they use."""
    paths = {}
    for path, item in document["paths"].items():
        kept = {m: operation(item[m]) for m in METHODS if m in item and admits(m, path)}
        if kept:
            paths[path] = kept
    schemas, wanted = {}, list(references(paths))
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = schema(document["components"]["schemas"][name])
            wanted.extend(references(schemas[name]))
    found = {"paths": paths, "components": {"schemas": schemas}}
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments):
    check = arguments[:1] == ["--check"]
    sources = [Path(one) for one in arguments[check:]]
    if len(sources) != 2:
        sys.exit(__doc__)
    ours = set(re.findall(r"^\|[^|]*\| `([A-Z]+ [^`]+)` \|", TABLE.read_text(), re.MULTILINE))
    kept = {
        "server.json": lambda method, path: True,
        "clients.json": lambda method, path: f"{method.upper()} {path}" in ours,
    }
    for source, (name, admits) in zip(sources, kept.items(), strict=False):
        if check and not source.exists():
            print(f"not compared: {name} (its source is not here)")
            continue
        text = digest(json.loads(source.read_text()), admits)
        if not check:
            (HERE / name).write_text(text)
        elif (HERE / name).read_text() != text:
            sys.exit(f"{name} is not what its source says: write it anew")


if __name__ == "__main__":
    main(sys.argv[1:])
