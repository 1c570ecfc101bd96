#!/usr/bin/env python3
"""Sends one message with the official Python client, and looks at what becomes of it.

POSTHORN_URL and POSTHORN_TOKEN say where the stack is; `cargo run` writes both into its
environment file, and `sam deploy` prints the URL. A local stack delivers to a receiver of this program,
which verifies with `standardwebhooks`. A stack on AWS cannot reach this machine: give it an endpoint.

Needs: pip install svix standardwebhooks
"""

import argparse
import http.server
import json
import os
import pathlib
import queue
import sys
import threading
import time

from standardwebhooks import Webhook, WebhookVerificationError
from svix.api import (
    ApplicationIn,
    EndpointIn,
    MessageAttemptListByMsgOptions,
    MessageGetOptions,
    MessageIn,
    MessageListOptions,
    Svix,
    SvixOptions,
)

SECONDS = 30

# Keys out of order, characters of one to four bytes, escapes, and numbers that a re-serialization
# would change.
PAYLOAD = {
    "zebra": 1,
    "apple": {"name": "Grüße, 世界 🎺", "quote": 'a "b" \\ c\n', "control": "\u0001"},
    "amount": 42.0,
    "tiny": 1e-7,
    "big": 9007199254740993,
    "empty": [{}, [], "", None, False],
}


class Receiver(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.secret = ""
        self.received: queue.Queue = queue.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        error = None
        try:
            Webhook(self.server.secret).verify(body, headers)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="deliver to this URL, which answers 2xx; `self` is the stack's own API, whose 4xx shows\n"
        "that the request left and came back. Default: a receiver on this machine",
    )
    parser.add_argument(
        "--save", metavar="FILE", help="write what the receiver got, and the secret, for tests/receivers"
    )
    arguments = parser.parse_args()
    svix = Svix(os.environ["POSTHORN_TOKEN"], SvixOptions(server_url=os.environ["POSTHORN_URL"]))
    if arguments.endpoint:
        to_an_endpoint(svix, arguments.endpoint)
    else:
        to_this_machine(svix, arguments.save)


def to_an_endpoint(svix: Svix, url: str) -> None:
    own = url == "self"
    if own:
        url = os.environ["POSTHORN_URL"].rstrip("/") + "/api/v1/app"
    application = svix.application.create(ApplicationIn(name="Smoke run"))
    try:
        endpoint = svix.endpoint.create(application.id, EndpointIn(url=url))
        check(endpoint.id.startswith("ep_"), f"endpoint {endpoint.id} at {url}")
        message = svix.message.create(application.id, MessageIn(event_type="smoke.run", payload={"hello": "world"}))
        check(message.id.startswith("msg_"), f"message {message.id} accepted")
        listed = svix.message.list(application.id).data
        check([one.id for one in listed] == [message.id], "the message is listed")
        options = MessageAttemptListByMsgOptions()
        attempt = poll(
            lambda: svix.message_attempt.list_by_msg(application.id, message.id, options).data,
            "an attempt is recorded",
        )[0]
        code = attempt.response_status_code
        wanted = range(400, 500) if own else range(200, 300)
        check(code in wanted, f"attempted in {attempt.response_duration_ms} ms, answered {code}")
    finally:
        svix.application.delete(application.id)


def to_this_machine(svix: Svix, save: str | None) -> None:
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    application = svix.application.create(ApplicationIn(name="Python smoke run"))
    check(application.id.startswith("app_"), f"application {application.id}")
    endpoint = svix.endpoint.create(application.id, EndpointIn(url=receiver.url))
    check(endpoint.id.startswith("ep_"), f"endpoint {endpoint.id} at {receiver.url}")
    receiver.secret = svix.endpoint.get_secret(application.id, endpoint.id).key
    check(receiver.secret.startswith("whsec_"), "secret read")

    message_in = MessageIn(event_type="invoice.paid", payload=PAYLOAD)
    # The payload's bytes as the client serializes and posts them.
    request = message_in.model_dump_json(exclude_unset=True, by_alias=True).encode()
    posted = request.removeprefix(b'{"eventType":"invoice.paid","payload":').removesuffix(b"}")
    check(json.loads(posted) == PAYLOAD, "the client leaves the payload as it is")
    message = svix.message.create(application.id, message_in)
    check(message.id.startswith("msg_"), f"message {message.id}")

    try:
        headers, body, error = receiver.received.get(timeout=SECONDS)
    except queue.Empty:
        check(False, f"delivered within {SECONDS} s")
    check(error is None, f"verified by standardwebhooks{f': {error}' if error else ''}")
    check(headers["webhook-id"] == message.id, "webhook-id is the message's id")
    check(headers["content-type"] == "application/json", "content-type is application/json")
    check(body == posted, f"{len(body)} bytes delivered as posted")
    check(refused(receiver.secret, headers, body), "a body with one flipped bit is refused")

    if save:
        delivery = {"secret": receiver.secret, "headers": headers, "body": body.decode()}
        pathlib.Path(save).write_text(json.dumps(delivery))

    listed = svix.message.list(application.id, MessageListOptions(with_content=True)).data
    check([one.id for one in listed] == [message.id], "the message is listed")
    check(listed[0].payload == PAYLOAD, "the listed payload is the same")
    got = svix.message.get(application.id, message.id, MessageGetOptions(with_content=True))
    check(got.payload == PAYLOAD, "the message is read by its id")

    # Recorded after the receiver answered.
    by_message = poll(
        lambda: svix.message_attempt.list_by_msg(application.id, message.id, MessageAttemptListByMsgOptions()).data,
        "an attempt is recorded",
    )
    check(len(by_message) == 1, "one attempt is listed by message")
    attempt = by_message[0]
    check((int(attempt.status), attempt.response_status_code) == (0, 204), "it succeeded with 204")
    check(attempt.endpoint_id == endpoint.id, "it names the endpoint")
    by_endpoint = svix.message_attempt.list_by_endpoint(application.id, endpoint.id).data
    check([one.id for one in by_endpoint] == [attempt.id], "it is listed by endpoint")

    svix.application.delete(application.id)
    check(receiver.received.empty(), "nothing was delivered twice")


def refused(secret: str, headers: dict, body: bytes) -> bool:
    at = body.index(b"1")
    flipped = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    try:
        Webhook(secret).verify(flipped, headers)
    except WebhookVerificationError:
        return True
    return False


if __name__ == "__main__":
    main()
