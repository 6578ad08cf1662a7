#!/usr/bin/env python3
"""A service in another language: registers by the HTTP API of gosd, stays registered, and leaves.

    registry_client.py [--token TOKEN] http://localhost:4673 mail http://10.0.0.7:25

It needs nothing but the standard library. Stop it with Ctrl-C or SIGTERM.
"""

import argparse
import http.client
import json
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid

LEASE = 15.0
# The bound of a request: after two renewals that go unanswered there is time for a third one before the lease runs out.
TIMEOUT = LEASE / 5
# No contact or the status of an error; an answer that is not HTTP; one that is not JSON, or other JSON.
FAILURES = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


def new_id(service):
    """With a UUIDv7 of now, so that gosd shows since when the service runs."""
    random = uuid.uuid4().int & ((1 << 76) - 1)
    return f"{service}-{int(time.time() * 1000) << 80 | 7 << 76 | random:032x}"


class Registry:
    def __init__(self, base, namespace="gosd", token=None):
        self.base = f"{base.rstrip('/')}/v1/{namespace}"
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def request(self, method, path, body=None):
        headers, data = dict(self.headers), None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def register(self, instance):
        """Also renews: each call starts the lease anew."""
        body = {"instance": instance, "lease_ms": int(LEASE * 1000)}
        self.request("PUT", f"instances/{urllib.parse.quote(instance['id'], safe='')}", body)

    def deregister(self, id):
        self.request("DELETE", f"instances/{urllib.parse.quote(id, safe='')}")

    def instances(self, service):
        return self.request("GET", f"instances?service={urllib.parse.quote(service)}")["instances"]


def leave(registry, id):
    """Says goodbye, in three attempts. If all fail, the end of the lease has to do."""
    for pause in (1, 1, 0):
        try:
            return registry.deregister(id)
        except FAILURES as error:
            print(f"no goodbye: {error}", file=sys.stderr)
            time.sleep(pause)


def main():
    parser = argparse.ArgumentParser(description="Registers a service until it is stopped.")
    parser.add_argument("--token")
    parser.add_argument("base")
    parser.add_argument("service")
    parser.add_argument("url")
    args = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    registry = Registry(args.base, token=args.token)
    id = new_id(args.service)
    instance = {"id": id, "service": args.service, "url": args.url, "metadata": {"by": "python"}}
    while not stop.is_set():
        due = time.monotonic() + LEASE / 3
        try:
            registry.register(instance)
        except FAILURES as error:
            # Not only when the next one is due: by then the lease has nearly run out.
            print(error, file=sys.stderr)
            stop.wait(1)
            continue
        try:
            print(*[other["url"] for other in registry.instances(args.service)], flush=True)
        except FAILURES as error:
            # It is registered all the same.
            print(error, file=sys.stderr)
        stop.wait(max(0, due - time.monotonic()))
    leave(registry, id)


if __name__ == "__main__":
    main()
