"""Checks the examples of the specification, and the server's events, against its schemas."""

import json
import sys
import urllib.request

import jsonschema_rs
import yaml

SCHEMAS = {"reset": "Instances", "put": "Instance", "remove": "Gone", "expire": "Gone"}


def check(spec, schema, value):
    """The schema's references are to the specification that it is in."""
    jsonschema_rs.Draft202012Validator({**schema, "components": spec["components"]}).validate(value)


def examples(spec, node):
    """Walks everything that has a schema and examples beside it, or is one with examples in it."""
    found = 0
    if isinstance(node, dict):
        schema = node.get("schema", node if "type" in node or "$ref" in node else None)
        values = [node["example"]] if "example" in node else []
        if isinstance(node.get("examples"), dict):
            values += [example["value"] for example in node["examples"].values()]
        for value in values:
            check(spec, schema, value)
            found += 1
        for child in node.values():
            found += examples(spec, child)
    elif isinstance(node, list):
        found = sum(examples(spec, child) for child in node)
    return found


def events(lines):
    name = data = None
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
        elif not line and name:
            yield name, data
            name = None


def check_event(spec, name, data):
    if name == "resumed":
        assert data == {}, data
    else:
        check(spec, spec["components"]["schemas"][SCHEMAS[name]], data)


def main(path, url, token):
    with open(path, encoding="utf-8") as file:
        spec = yaml.safe_load(file)
    found = examples(spec, spec["paths"]) + examples(spec, spec["components"])
    streams = spec["paths"]["/v1/{namespace}/events"]["get"]["responses"]["200"]["content"]
    for example in streams["text/event-stream"]["examples"].values():
        for name, data in events(example["value"].splitlines(keepends=True)):
            check_event(spec, name, data)
            found += 1
    assert found > 15, found

    def request(method, path, body=None, **headers):
        headers |= {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.urlopen(
            urllib.request.Request(url + path, data, headers, method=method), timeout=20
        )

    body = {"instance": {"id": "spec-1", "service": "spec", "url": "http://h"}, "lease_ms": 1000}
    seen = []
    for change, last in [
        (lambda: request("PUT", "/v1/gosd/instances/spec-1", body), "put"),
        (lambda: request("DELETE", "/v1/gosd/instances/spec-1"), "remove"),
        (lambda: request("PUT", "/v1/gosd/instances/spec-1", body), "expire"),
    ]:
        stream = request("GET", "/v1/gosd/events")
        assert stream.headers["Content-Type"] == "text/event-stream", stream.headers
        change()
        for name, data in events(line.decode() for line in stream):
            check_event(spec, name, data)
            seen.append(name)
            if name == last and data["id"] == "spec-1":
                break
    assert {"reset", "put", "remove", "expire"} <= set(seen), seen

    request("PUT", "/v1/gosd/instances/spec-1", body)
    for services, named in [("other,spec", True), ("spec%2Cother", True), ("other", False)]:
        stream = request("GET", f"/v1/gosd/events?service={services}")
        name, data = next(events(line.decode() for line in stream))
        check_event(spec, name, data)
        seen.append(name)
        ids = [instance["id"] for instance in data["instances"]]
        assert name == "reset" and ("spec-1" in ids) == named, (services, name, data)
    print(f"{found} examples and {len(seen)} events agree with the specification.")


main(*sys.argv[1:])
