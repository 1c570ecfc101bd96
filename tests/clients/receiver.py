"""A receiver on this machine that verifies deliveries, and helpers to check and to wait. Needs no client."""

import http.server
import queue
import sys
import threading
import time

from standardwebhooks import Webhook, WebhookVerificationError

SECONDS = 30


class Receiver(http.server.ThreadingHTTPServer):
    """Answers 204 to what verifies with `secret`, 400 to anything else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret = ""
        self.received: queue.Queue = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def next(self) -> tuple[dict, bytes]:
        """The headers and the body of the next delivery, verified."""
        try:
            headers, body, error = self.received.get(timeout=SECONDS)
        except queue.Empty:
            check(False, f"delivered within {SECONDS} s")
        check(error is None, f"verified by standardwebhooks{f': {error}' if error else ''}")
        return headers, body


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        error = None
        try:
            Webhook(self.server.secret).verify(body, headers, json_parse=False)
        except WebhookVerificationError as refused:
            error = refused
        self.server.received.put((headers, body, error))
        self.send_response(400 if error else 204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


def check(holds: bool, what: str) -> None:
    print(f"  {'ok' if holds else 'FAILED'}  {what}", flush=True)
    if not holds:
        sys.exit(1)


def poll(read, what: str):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := read():
            return found
        time.sleep(0.1)
    check(False, f"{what} within {SECONDS} s")
    return None
