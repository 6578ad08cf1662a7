"""What the specification cannot say of valid requests, for schemathesis."""

import ipaddress
import re

import schemathesis


@schemathesis.hook
def filter_body(context, body):
    """Leaves out URLs with an IPv6 literal of the right characters that is none."""
    instance = body.get("instance") if isinstance(body, dict) else None
    url = instance.get("url") if isinstance(instance, dict) else None
    if not isinstance(url, str):
        return True
    literal = re.match(r"[^:/?#]*://(?:[^/?#]*@)?\[([0-9A-Fa-f:.]+)", url)
    try:
        return literal is None or ipaddress.IPv6Address(literal.group(1)) is not None
    except ValueError:
        return False


@schemathesis.hook
def map_case(context, case):
    """Has the ids in path and body agree, mostly, so that what follows finds an instance."""
    body, path = case.body, case.path_parameters
    if case.method == "PUT" and isinstance(body, dict) and isinstance(body.get("instance"), dict):
        id = body["instance"].get("id")
        if isinstance(id, str) and isinstance(path.get("id"), str) and len(id) % 4:
            path["id"] = id
    return case
