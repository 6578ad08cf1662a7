#!/usr/bin/env python3
"""A service in another language: registers by the HTTP API of gosd, stays registered, and leaves.

    registry_client.py [--token TOKEN] http://localhost:4673 mail http://10.0.0.7:25

It needs nothing but the standard library. Stop it with Ctrl-C or SIGTERM.
"""

import argparse
import json
import signal
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid

LEASE = 15.0


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
        with urllib.request.urlopen(request, timeout=5) as answer:
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
    id = f"{args.service}-{uuid.uuid4().hex}"
    instance = {"id": id, "service": args.service, "url": args.url, "metadata": {"by": "python"}}
    while not stop.is_set():
        try:
            registry.register(instance)
            print(*[other["url"] for other in registry.instances(args.service)], flush=True)
        except OSError as error:
            # The server may be back by the next time, which is before the lease runs out.
            print(error, file=sys.stderr)
        stop.wait(LEASE / 3)
    registry.deregister(id)


if __name__ == "__main__":
    main()
