"""What the specification cannot say of valid requests, for schemathesis."""

import ipaddress
import re

import schemathesis


def is_reachable(literal):
    """Whether it is an IPv6 address, and not the one that stands for all."""
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        return False
    return not (address.ipv4_mapped or address).is_unspecified


@schemathesis.hook
def filter_case(context, case):
    """Leaves out what is invalid by a rule beyond JSON Schema, and is generated as valid."""
    instance = case.body.get("instance") if isinstance(case.body, dict) else None
    if not isinstance(instance, dict):
        return True
    url, metadata = instance.get("url"), instance.get("metadata")
    if isinstance(url, str):
        literal = re.match(r"[^:/?#]*://(?:[^/?#]*@)?\[([0-9A-Fa-f:.]+)", url)
        if literal and not is_reachable(literal.group(1)):
            return False
        if re.match(r"[^:/?#]*://(?:[^/?#]*@)?(?:\*|0|0\.0\.0\.0)(?:[:/?#]|$)", url):
            return False
    if isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()):
        return sum(len((key + value).encode()) for key, value in metadata.items()) <= 8192
    return True


@schemathesis.hook
def map_case(context, case):
    """Has the ids in path and body agree, mostly, so that what follows finds an instance."""
    instance = case.body.get("instance") if isinstance(case.body, dict) else None
    id = instance.get("id") if isinstance(instance, dict) else None
    if isinstance(id, str) and "id" in case.path_parameters and len(id) % 4:
        case.path_parameters["id"] = id
    return case
