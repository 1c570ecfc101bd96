#!/usr/bin/env python3
"""Sends one message with the official Python client, and checks what happens to it.

POSTHORN_URL and POSTHORN_TOKEN say where the stack is; `cargo run` writes both into its
environment file, and `sam deploy` prints the URL. A local stack delivers to a receiver of this program,
which verifies with `standardwebhooks`. A stack on AWS cannot reach this machine: give it an endpoint.

Needs: pip install svix standardwebhooks
"""

import argparse
import json
import os
import pathlib
import urllib.request

from receiver import Receiver, check, poll
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
from svix.api.message import message_in_raw

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

JSON = "application/json"
# Texts that a parser would change, and their content types.
RAW = [
    (' {\n  "b" : 1.0 ,"a":\t"\\u00e9é" }\n', None),
    ('<?xml version="1.0"?>\n<a b="1">Grüße, 世界 🎺</a>\n', "text/xml; charset=utf-8"),
]


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

    headers, body = receiver.next()
    check(headers["webhook-id"] == message.id, "webhook-id is the message's id")
    check(headers["content-type"] == JSON, f"content-type is {JSON}")
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

    raw_payloads(svix, application.id, receiver)
    svix.application.delete(application.id)
    check(receiver.received.empty(), "nothing was delivered twice")


def raw_payloads(svix: Svix, application: str, receiver: Receiver) -> None:
    """What clients send for text that must not be changed: this one, and those for Java and Kotlin."""
    for text, content_type in RAW:
        wanted = content_type or JSON
        message = svix.message.create(application, message_in_raw("raw.sent", text, content_type))
        delivered_as_is(receiver, message.id, text, wanted, "message_in_raw")
        params = {"rawPayload": text}
        if content_type:
            params["headers"] = {"content-type": content_type}
        for payload in ("", {}):
            body = {"eventType": "raw.sent", "payload": payload, "transformationsParams": params}
            delivered_as_is(receiver, post(application, body), text, wanted, f"Java's body with payload {payload!r}")
    for text in ('{"n":1}', "[1, 2]", "plain", "5"):
        message = svix.message.create(application, message_in_raw("raw.sent", text))
        delivered_as_is(receiver, message.id, text, JSON, f"raw {text}")


def delivered_as_is(receiver: Receiver, message: str, text: str, content_type: str, what: str) -> None:
    headers, body = receiver.next()
    check(headers["webhook-id"] == message, f"{what}: delivered")
    check(body == text.encode(), f"{what}: {len(body)} bytes as they are")
    check(headers["content-type"] == content_type, f"{what}: content-type {content_type}")


def post(application: str, body: dict) -> str:
    """Posts a message as another client would; returns its id."""
    request = urllib.request.Request(
        f"{os.environ['POSTHORN_URL'].rstrip('/')}/api/v1/app/{application}/msg",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {os.environ['POSTHORN_TOKEN']}", "content-type": JSON},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["id"]


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
