"""What the tests of the page have in common: the server and its clients, and the browser."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
import uuid

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

WRITE, READ = "sesame-sesame-sesame", "only-for-looking-at-it"
# A bound for what takes well under a second on an idle machine (ms).
LATE = 60_000
# Counts what the content security policy forbade, and how long the page did nothing else (ms).
LISTENERS = """
    window.violations = []; window.busy = [];
    addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
    new PerformanceObserver((list) => list.getEntries().forEach((e) => busy.push(e.duration)))
        .observe({ type: "longtask" });
"""


class Place:
    """A database, the server before it, and the clients of it."""

    def __init__(self, program, directory):
        self.program, self.directory, self.children = program, directory, []
        self.database = f"sqlite:{directory}/gosd.db"
        for name, token in [("write", WRITE), ("read", READ)]:
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(token)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.server = self.serve()

    def start(self, *args):
        environment = {"gosdDriver": self.database, "gosdLeaseTTL": "2", "gosdNamespace": "shop", "PATH": os.environ["PATH"]}
        child = subprocess.Popen(
            [self.program, *args], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        self.children.append(child)
        return child

    def serve(self):
        files = [f"{self.directory}/write", f"{self.directory}/read"]
        server = self.start("serve", self.address, "--token-file", files[0], "--read-only-token-file", files[1])
        assert server.stdout.readline().startswith("http://")
        return server

    def client(self, service, url, *metadata):
        """One that stays until it is told to go; its id, and its process."""
        flags = [flag for pair in metadata for flag in ("-m", pair)]
        child = self.start("register", service, url, *flags, "--hold")
        return child.stdout.readline().strip(), child

    def ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {WRITE}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()

    def put(self, id, service, url, **metadata):
        instance = {"id": id, "service": service, "url": url, "metadata": metadata}
        self.ask("PUT", f"/v1/shop/instances/{id}", {"instance": instance, "lease_ms": 3_600_000})

    def remove(self, id):
        self.ask("DELETE", f"/v1/shop/instances/{id}")

    def run(self, *args):
        """A command that works on the database beside the server, as another operator does; its output."""
        command = [self.program, "-d", self.database, "-n", "shop", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def is_drained(self, id):
        """As others see it, and not the page."""
        lines = map(json.loads, self.run("ls", "mail", "--json").splitlines())
        return {line["id"]: line.get("drained", False) for line in lines}[id]

    def watchers(self):
        return int(re.search(r"^gosd_server_watchers (\d+)$", self.ask("GET", "/metrics"), re.M)[1])

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()


def id_of(service):
    """An id as gosd makes it: with a UUIDv7 of now."""
    value = (int(time.time() * 1000) << 80) | (7 << 76) | (2 << 62) | (uuid.uuid4().int & ((1 << 62) - 1))
    return f"{service}-{value:032x}"


def until(done, what):
    end = time.monotonic() + LATE / 1000
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Browser:
    """A page, and what is wrong with it."""

    def __init__(self, browser, place, scheme="light", token=None):
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 900})
        self.context.set_default_timeout(LATE)
        self.context.add_init_script(LISTENERS)
        self.page, self.errors = self.context.new_page(), []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"a dialog: {dialog.message}"))
        self.page.on("console", self.note)
        if token:
            self.context.add_init_script(f"sessionStorage.setItem('gosd.token', '{token}')")
        self.page.goto(place.url)

    def note(self, message):
        # What the network did is part of the test.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def is_live(self):
        expect(self.page.locator("#bar")).to_have_attribute("data-state", "live", timeout=LATE)

    def row(self, id):
        return self.page.locator("tbody tr", has=self.page.locator(f'button[title="Copy {id}"]'))

    def entry(self, id, kind):
        return self.page.locator("#timeline li", has=self.page.locator(f'span[title="{id}"]')).filter(
            has_text=kind
        )

    def filter(self, text):
        self.page.locator("#filter").fill(text)

    def is_accessible(self, what):
        results = Axe().run(self.page)
        assert results.violations_count == 0, f"{what}: {results.generate_report()}"

    def close(self):
        violations = self.page.evaluate("violations")
        assert not violations and not self.errors, (violations, self.errors)
        self.context.close()
