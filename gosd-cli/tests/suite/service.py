"""A service: answers on PORT, tells what signals it gets, and what the registry says at that moment."""

import http.server
import os
import signal
import subprocess
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("healthy") else 503)
        self.end_headers()

    def log_message(self, *args):
        pass


def start():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def tell(text):
    print(text, flush=True)


# Taken one after the other, for one that comes just before a pause would not end it.
taken = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, taken)
interrupts = 0
server = start()
tell(f"up {os.getpid()}")
while True:
    came = signal.sigwait(taken)
    if came == signal.SIGINT:
        interrupts += 1
        tell("interrupted")
    elif came == signal.SIGTERM:
        listed = subprocess.run([sys.argv[1], "ls", "mail", "-o", "url"], stdout=subprocess.PIPE)
        tell(f"ending, {listed.returncode}, {interrupts} interrupts")
        os._exit(7)
    elif server:
        server.shutdown()
        server.server_close()
        server = None
    else:
        server = start()
