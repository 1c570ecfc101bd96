#!/usr/bin/env python3
"""Calls every operation that the official Python client has for the API, and checks what it does.

POSTHORN_URL and POSTHORN_TOKEN (an organization's) name the stack. Endpoints are on this
machine and use http, so the stack must be local.
"""

import base64
import collections
import datetime
import http.server
import json
import os
import secrets
import threading
import typing

from receiver import check, poll
from standardwebhooks import Webhook, WebhookVerificationError
from svix import api
from svix.exceptions import HttpError, HTTPValidationError

# Names that no other run of the script uses.
RUN = secrets.token_hex(4)
PAID, REFUNDED = f"invoice.paid.{RUN}", f"invoice.refunded.{RUN}"
STARTED = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)

SUCCESS, FAIL, CODE = api.MessageStatus.SUCCESS, api.MessageStatus.FAIL, api.StatusCodeClass


class Receiver(http.server.ThreadingHTTPServer):
    """Accepts every delivery; each endpoint has its own path. A path that starts with `failing` answers 500."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = collections.defaultdict(list)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def wait(self, name: str, message: str, count: int = 1) -> list:
        """The deliveries of a message at a path, at least `count`."""

        def deliveries() -> list:
            found = [one for one in self.received[name] if one[0]["webhook-id"] == message]
            return found if len(found) >= count else []

        return poll(deliveries, f"delivery {count} of {message} at {name}")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        name = self.path.removeprefix("/")
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received[name].append((headers, body))
        answer = f"answer of {name}".encode()
        self.send_response(500 if name.startswith("failing") else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args: object) -> None:
        pass


class Recorder:
    """A client, or one of its resources, that records which operations were called."""

    called: typing.ClassVar[set[str]] = set()

    def __init__(self, target: object, path: str = "") -> None:
        self._target, self._path = target, path

    def __getattr__(self, name: str):
        value, path = getattr(self._target, name), f"{self._path}{name}"
        if not callable(value):
            return Recorder(value, f"{path}.")

        def call(*arguments, **named):
            self.called.add(path)
            return value(*arguments, **named)

        return call


def status_of(call) -> int:
    """The status code of the error that the client raises."""
    try:
        call()
    except (HttpError, HTTPValidationError) as error:
        return error.status_code
    return 0


def pages(read, options, **fields) -> list:
    """All items of a list, read in pages of one."""
    items, page = [], read(options(limit=1, **fields))
    while True:
        items += page.data
        if page.done:
            return items
        iterator, page = page.iterator, read(options(limit=1, iterator=page.iterator, **fields))
        if page.data and page.iterator == iterator:
            check(False, f"the list goes on after {iterator}")


def ids(items) -> list[str]:
    return [item.id for item in items]


def shown(fields: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items()) or "nothing"


def application(svix, name: str) -> str:
    return svix.application.create(api.ApplicationIn(name=name)).id


def endpoint(svix, receiver, app: str, name: str) -> str:
    return svix.endpoint.create(app, api.EndpointIn(url=receiver.url(name))).id


def pair(svix, receiver, name: str) -> tuple[str, str]:
    """An application and its endpoint."""
    app = application(svix, name)
    return app, endpoint(svix, receiver, app, name)


def changed(before, after, what: str, **fields):
    """Checks that an object changed in these fields only."""
    wanted = before.model_copy(update={"updated_at": after.updated_at, **fields})
    check(after == wanted, f"patch {what}, and nothing else")
    return after


def send(svix, app: str, event_type: str = PAID, **fields) -> str:
    fields.setdefault("payload", {"sent": event_type})
    return svix.message.create(app, api.MessageIn(event_type=event_type, **fields)).id


def attempts_of(svix, app: str, message: str, count: int = 1) -> list:
    """The attempts of a message, as soon as there are `count`."""
    options = api.MessageAttemptListByMsgOptions(with_content=True)

    def read() -> list:
        found = svix.message_attempt.list_by_msg(app, message, options).data
        return found if len(found) >= count else []

    return poll(read, f"{count} attempts of {message}")


def verifies(secret: str, delivery: tuple) -> bool:
    try:
        Webhook(secret).verify(delivery[1], delivery[0])
    except WebhookVerificationError:
        return False
    return True


def applications(svix) -> None:
    uid = f"acme-{RUN}"
    made = svix.application.create(api.ApplicationIn(name="Acme", uid=uid, throttle_rate=5, metadata={"plan": "free"}))
    check(svix.application.get(uid) == made, "an application is read by its uid")
    same = svix.application.get_or_create(api.ApplicationIn(name="Other", uid=uid))
    check(same == made, "get_or_create returns the application that exists")
    taken = status_of(lambda: svix.application.create(api.ApplicationIn(name="Two", uid=uid)))
    check(taken == 409, "a uid is taken once")

    patched = svix.application.patch(uid, api.ApplicationPatch(name="Acme Inc."))
    named = changed(made, patched, "changes the name", name="Acme Inc.")
    patched = svix.application.patch(uid, api.ApplicationPatch(throttle_rate=None, uid=None))
    changed(named, patched, "clears uid and rate by null", throttle_rate=None, uid=None)
    check(status_of(lambda: svix.application.get(uid)) == 404, "the uid is gone")

    put = svix.application.upsert(made.id, api.ApplicationIn(name="Acme", uid=uid))
    check((put.id, put.metadata) == (made.id, {}), "upsert replaces an application")
    new = svix.application.upsert(f"new-{RUN}", api.ApplicationIn(name="New"))
    check(new.uid == f"new-{RUN}", "upsert creates an application")

    whole = ids(svix.application.list(api.ApplicationListOptions(limit=250)).data)
    paged = ids(pages(svix.application.list, api.ApplicationListOptions))
    check(paged == whole, f"pages of one hold each of {len(whole)} applications once")
    descending = api.ApplicationListOptions(limit=250, order=api.Ordering.DESCENDING)
    check(ids(svix.application.list(descending).data) == whole[::-1], "descending is reversed")
    for app in (made.id, new.id):
        svix.application.delete(app)
        check(status_of(lambda app=app: svix.application.get(app)) == 404, f"{app} is deleted")


def event_types(svix) -> None:
    names = [f"type.{letter}.{RUN}" for letter in "abc"]
    schemas = {"1": {"type": "object"}}
    for name in (PAID, REFUNDED, *names[:2]):
        svix.event_type.create(api.EventTypeIn(name=name, description="First", schemas=schemas))
    svix.event_type.upsert(names[2], api.EventTypeUpsertIn(description="Third"))
    got = svix.event_type.get(names[0])
    check((got.description, got.schemas) == ("First", schemas), "an event type has its schemas")
    check(svix.event_type.get(names[2]).description == "Third", "upsert creates an event type")

    patched = svix.event_type.patch(names[0], api.EventTypePatch(description="New"))
    new = changed(got, patched, "changes the description", description="New")
    patched = svix.event_type.patch(names[0], api.EventTypePatch(schemas=None))
    changed(new, patched, "clears the schemas by null", schemas=None)
    got = svix.event_type.upsert(names[1], api.EventTypeUpsertIn(description="Put"))
    check((got.description, got.schemas) == ("Put", None), "upsert replaces an event type")

    def listed(**fields) -> list[str]:
        found = pages(svix.event_type.list, api.EventTypeListOptions, **fields)
        return [one.name for one in found if one.name in names]

    check(listed() == names, "pages of one hold each event type once")
    svix.event_type.delete(names[0])
    check(listed() == names[1:], "an archived event type is not listed")
    check(listed(include_archived=True) == names, "or with include_archived only")
    check(svix.event_type.get(names[0]).archived is True, "it is shown as archived")
    back = svix.event_type.create(api.EventTypeIn(name=names[0], description="Back"))
    check((back.archived, listed()) == (False, names), "create brings it back")
    for name in names:
        svix.event_type.delete(name, api.EventTypeDeleteOptions(expunge=True))
    check(listed(include_archived=True) == [], "expunged event types are gone")
    check(status_of(lambda: svix.event_type.get(names[0])) == 404, "and cannot be read")


def endpoints(svix, receiver) -> None:
    app, url = application(svix, "endpoints"), receiver.url("endpoints")
    fields = {"channels": ["north"], "event_types": [PAID], "throttle_rate": 10, "uid": "main"}
    made = svix.endpoint.create(app, api.EndpointIn(url=url, description="Main", **fields))
    check(svix.endpoint.get(app, "main") == made, "an endpoint is read by its uid")
    try:
        svix.endpoint.create(app, api.EndpointIn(url=url, event_types=[f"no.{RUN}"]))
        check(False, "an unknown event type is refused")
    except HTTPValidationError as error:
        named = error.status_code == 422 and f"no.{RUN}" in error.detail[0].msg
        check(named, f"an unknown event type is refused: {error.detail[0].msg}")

    patched = svix.endpoint.patch(app, "main", api.EndpointPatch(description="New"))
    before = changed(made, patched, "changes the description", description="New")
    for field in fields:
        patched = svix.endpoint.patch(app, made.id, api.EndpointPatch(**{field: None}))
        before = changed(before, patched, f"clears {field} by null", **{field: None})
    check(status_of(lambda: svix.endpoint.get(app, "main")) == 404, "the uid is gone")

    put = svix.endpoint.upsert(app, made.id, api.EndpointUpsertIn(url=url, uid="main"))
    check((put.id, put.description) == (made.id, ""), "upsert replaces an endpoint")
    new = svix.endpoint.upsert(app, "second", api.EndpointUpsertIn(url=url))
    check(new.uid == "second", "upsert creates an endpoint")
    paged = ids(pages(lambda options: svix.endpoint.list(app, options), api.EndpointListOptions))
    check(paged == [new.id, made.id], "pages of one hold each endpoint once, newest first")
    svix.endpoint.delete(app, "second")
    check(ids(svix.endpoint.list(app).data) == [made.id], "a deleted endpoint is not listed")
    check(status_of(lambda: svix.endpoint.get(app, new.id)) == 404, "and cannot be read")


def headers(svix, receiver) -> None:
    app, ep = pair(svix, receiver, "headers")
    given = {"X-Kept": "1", "X-Changed": "2", "X-Removed": "3", "Authorization": "Bearer s3cret"}
    svix.endpoint.set_headers(app, ep, api.EndpointHeadersIn(headers=given))
    shown = svix.endpoint.get_headers(app, ep)
    check(shown.sensitive == ["Authorization"], "Authorization is shown as sensitive")
    check(shown.headers == {name: given[name] for name in list(given)[:3]}, "the others in full")
    # How the client expresses null.
    patch = api.EndpointHeadersPatchIn(headers={"X-Changed": "4"}, delete_headers=["X-Removed"])
    svix.endpoint.patch_headers(app, ep, patch)
    shown = svix.endpoint.get_headers(app, ep)
    check(shown.headers == {"X-Kept": "1", "X-Changed": "4"}, "patch changes one, removes one")

    got = receiver.wait("headers", send(svix, app))[0][0]
    names = ("x-kept", "x-changed", "x-removed", "authorization")
    arrived = [got.get(name) for name in names]
    check(arrived == ["1", "4", None, "Bearer s3cret"], "the receiver gets what is set")


def rotate(svix, app: str, ep: str, **fields) -> str:
    """Rotates a secret; returns the new one."""
    try:
        answer = svix.endpoint.rotate_secret(app, ep, api.EndpointSecretRotateIn(**fields)).key
    except json.JSONDecodeError:
        print("  note: rotated, but this client wants a body where the contract has a 204")
        answer = None
    key = svix.endpoint.get_secret(app, ep).key
    check(answer in (None, key), "a rotated secret can be read")
    return key


def signing_secrets(svix, receiver) -> None:
    app, ep = pair(svix, receiver, "secrets")
    first = svix.endpoint.get_secret(app, ep).key
    second = rotate(svix, app, ep)
    delivery = receiver.wait("secrets", send(svix, app))[0]
    check(first != second, "rotate_secret makes another secret")
    check(verifies(second, delivery), "a delivery right after verifies with the new secret")
    check(verifies(first, delivery), "and with the old one")

    own = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    check(rotate(svix, app, ep, key=own, grace_period_seconds=0) == own, "a secret can be given")
    delivery = receiver.wait("secrets", send(svix, app))[0]
    checks = verifies(own, delivery), verifies(second, delivery)
    check(checks == (True, False), "without a grace period the old secret ends at once")


def messages(svix, receiver) -> None:
    app, _ = pair(svix, receiver, "messages")
    payload = {"amount": 4200}
    first = send(svix, app, event_id="first", channels=["north"], payload=payload)
    # Ids from the same few milliseconds have no order.
    attempts_of(svix, app, first)
    last = send(svix, app, REFUNDED, channels=["south"])
    again = api.MessageIn(event_type=PAID, event_id="first", payload={})
    check(status_of(lambda: svix.message.create(app, again)) == 409, "an eventId is taken once")
    content = api.MessageGetOptions(with_content=True)
    got = svix.message.get(app, first, content)
    after = (got.event_type, got.event_id, got.channels, got.payload)
    check(after == (PAID, "first", ["north"], payload), "a message is read by its id")
    check(svix.message.get(app, first).payload == {}, "without its content unless asked for")
    check(svix.message.get(app, "first").id == first, "a message is read by its eventId")

    for fields, wanted in (
        ({}, [last, first]),
        ({"channel": "north"}, [first]),
        ({"event_types": [REFUNDED]}, [last]),
        ({"event_types": [PAID, REFUNDED]}, [last, first]),
        ({"after": STARTED}, [last, first]),
        ({"before": STARTED}, []),
    ):
        found = ids(svix.message.list(app, api.MessageListOptions(**fields)).data)
        check(found == wanted, f"messages by {shown(fields)}")
    paged = pages(lambda options: svix.message.list(app, options), api.MessageListOptions)
    check(ids(paged) == [last, first], "pages of one hold each message once")

    svix.message.expunge_content(app, first)
    got = svix.message.get(app, first, content)
    check((got.id, got.payload) == (first, {"expired": True}), "an expunged payload is gone")


def attempts(svix, receiver) -> None:
    attempt = svix.message_attempt
    app, good = pair(svix, receiver, "attempts")
    bad = endpoint(svix, receiver, app, "failing-attempts")
    first = send(svix, app, channels=["north"])
    both = {one.endpoint_id: one for one in attempts_of(svix, app, first, 2)}
    check(set(both) == {good, bad}, "a message is attempted at both endpoints")
    ok, failed = both[good], both[bad]
    after = (ok.status, ok.response_status_code, ok.response, ok.trigger_type)
    check(after == (SUCCESS, 200, "answer of attempts", 0), "one succeeded")
    after = (failed.status, failed.response_status_code, failed.response)
    check(after == (FAIL, 500, "answer of failing-attempts"), "one failed")
    check(attempt.get(app, first, ok.id) == ok, "an attempt is read by its id")

    last = send(svix, app, REFUNDED, channels=["south"])
    attempts_of(svix, app, last, 2)
    sent = svix.message.get(app, last).timestamp
    between = ok.timestamp + (sent - ok.timestamp) / 2
    of_an_endpoint(attempt, app, good, first, last, between)
    of_a_message(attempt, app, first, good, bad)

    attempt.resend(app, first, good)
    receiver.wait("attempts", first, 2)
    one = api.MessageAttemptListByMsgOptions(endpoint_id=good)
    tried = poll(
        lambda: (found := attempt.list_by_msg(app, first, one).data)[1:] and found,
        "the attempt of resend",
    )
    triggers = [int(one.trigger_type) for one in tried]
    check(triggers == [1, 0], "resend posts a message again, as a manual attempt")
    attempt.expunge_content(app, first, ok.id)
    got = attempt.get(app, first, ok.id)
    check((got.id, got.response) == (ok.id, "EXPUNGED"), "an expunged response is gone")


def of_an_endpoint(attempt, app, good, first, last, between) -> None:
    """The two lists of an endpoint: its attempts, and its messages."""
    by_attempt = api.MessageAttemptListByEndpointOptions
    by_message = api.MessageAttemptListAttemptedMessagesOptions

    def attempts(options):
        return attempt.list_by_endpoint(app, good, options)

    def messages(options):
        return attempt.list_attempted_messages(app, good, options)

    for fields, wanted in (
        ({}, [last, first]),
        ({"status": SUCCESS}, [last, first]),
        ({"status": FAIL}, []),
        ({"event_types": [PAID]}, [first]),
        ({"event_types": [PAID, REFUNDED]}, [last, first]),
        ({"channel": "south"}, [last]),
        ({"before": between}, [first]),
        ({"after": between}, [last]),
    ):
        found = [one.msg_id for one in attempts(by_attempt(**fields)).data]
        check(found == wanted, f"attempts of an endpoint by {shown(fields)}")
        found = ids(messages(by_message(**fields)).data)
        check(found == wanted, f"messages of an endpoint by {shown(fields)}")
    for code, wanted in (CODE.CODE2XX, [last, first]), (CODE.CODE5XX, []):
        found = attempts(by_attempt(status_code_class=code)).data
        check([one.msg_id for one in found] == wanted, f"attempts of an endpoint by class {code}")
    paged = [one.msg_id for one in pages(attempts, by_attempt)]
    check(paged == [last, first], "pages of one hold each attempt once")
    paged = ids(pages(messages, by_message))
    check(paged == [last, first], "pages of one hold each message once")


def of_a_message(attempt, app, first, good, bad) -> None:
    """The two lists of a message: its attempts, and its destinations."""
    for fields, wanted in (
        ({"endpoint_id": bad}, {bad}),
        ({"status": SUCCESS}, {good}),
        ({"status": FAIL}, {bad}),
        ({"status_code_class": CODE.CODE5XX}, {bad}),
        ({"event_types": [REFUNDED]}, set()),
        ({"channel": "north"}, {good, bad}),
    ):
        options = api.MessageAttemptListByMsgOptions(**fields)
        found = {one.endpoint_id for one in attempt.list_by_msg(app, first, options).data}
        check(found == wanted, f"attempts of a message by {shown(fields)}")
    options = api.MessageAttemptListAttemptedDestinationsOptions
    paged = pages(lambda page: attempt.list_attempted_destinations(app, first, page), options)
    check(ids(paged) == sorted([good, bad]), "pages of one hold each destination once")
    status = {one.id: one.status for one in paged}
    check(status[good] == SUCCESS, "a delivered destination is a success")
    check(status[bad] not in (SUCCESS, FAIL), "one that is retried has not failed yet")


def recovery(svix, receiver) -> None:
    app, bad = pair(svix, receiver, "failing-recovery")
    message = send(svix, app)
    attempts_of(svix, app, message)
    task = svix.endpoint.recover(app, bad, api.RecoverIn(since=STARTED))
    check((task.status, task.task) == ("running", "endpoint.recover"), f"recovery is {task.id}")
    finished(svix, task.id)
    listed = pages(svix.background_task.list, api.BackgroundTaskListOptions)
    check(ids(listed).count(task.id) == 1, "the task is listed")

    late = endpoint(svix, receiver, app, "late")
    task = svix.endpoint.replay_missing(app, late, api.ReplayIn(since=STARTED))
    check((task.status, task.task) == ("running", "endpoint.replay"), f"replay is {task.id}")
    receiver.wait("late", message)
    check(True, "a message from before an endpoint is replayed to it")
    finished(svix, task.id)


def finished(svix, task: str) -> None:
    poll(lambda: svix.background_task.get(task).status == "finished", f"{task} is finished")
    check(True, f"{task} is finished")


def examples(svix, receiver) -> None:
    (app, ep), name = pair(svix, receiver, "examples"), f"example.{RUN}"
    endpoint(svix, receiver, app, "elsewhere")
    schemas = {"1": {"type": "object", "properties": {}, "examples": [{"hello": "world"}]}}
    svix.event_type.create(api.EventTypeIn(name=name, description="Example", schemas=schemas))
    message = svix.endpoint.send_example(app, ep, api.EventExampleIn(event_type=name))
    body = receiver.wait("examples", message.id)[0][1]
    check(json.loads(body) == {"hello": "world"}, "send_example sends the schema's example")
    reached = svix.message_attempt.list_attempted_destinations(app, message.id).data
    check(ids(reached) == [ep], "to that endpoint only")


def statistics(svix, receiver) -> None:
    app, ep = pair(svix, receiver, "statistics")
    for _ in range(3):
        send(svix, app)
    since = api.EndpointGetStatsOptions(since=STARTED)
    poll(lambda: svix.endpoint.get_stats(app, ep, since).success == 3, "3 successes are counted")
    stats = svix.endpoint.get_stats(app, ep)
    counts = (stats.success, stats.fail, stats.pending, stats.sending, stats.canceled)
    check(counts == (3, 0, 0, 0, 0), "3 successes are counted, and nothing else")


def portal(svix, receiver) -> None:
    (app, ep), other = pair(svix, receiver, "portal"), application(svix, "other")
    token = svix.authentication.app_portal_access(app, api.AppPortalAccessIn()).token
    user = client(token)
    check(ids(user.endpoint.list(app).data) == [ep], "a portal token lists its endpoints")
    check(status_of(user.application.list) == 403, "not applications")
    check(status_of(lambda: user.endpoint.list(other)) == 404, "no other application's endpoints")
    user.authentication.logout()
    check(status_of(lambda: user.endpoint.list(app)) == 401, "after logout it is refused")
    capabilities(svix, app, ep)
    expire_all(svix, app)


def capabilities(svix, app: str, ep: str) -> None:
    kinds = api.AppPortalCapability
    granted = api.AppPortalAccessIn(capabilities=[kinds.VIEW_BASE, kinds.VIEW_ENDPOINT_SECRET])
    user = client(svix.authentication.app_portal_access(app, granted).token)
    check(user.endpoint.get_secret(app, ep).key.startswith("whsec_"), "a capability shows a secret")
    rotate = api.EndpointSecretRotateIn()
    refused = status_of(lambda: user.endpoint.rotate_secret(app, ep, rotate))
    check(refused == 403, "it does not rotate it")
    reader = api.AppPortalAccessIn(read_only=True)
    user = client(svix.authentication.app_portal_access(app, reader).token)
    check(ids(user.endpoint.list(app).data) == [ep], "a read-only token reads")
    check(status_of(lambda: user.endpoint.delete(app, ep)) == 403, "it deletes nothing")


def expire_all(svix, app: str) -> None:
    grants = [api.AppPortalAccessIn(session_id=name) for name in ("anna", "ben")]
    anna, ben = (client(svix.authentication.app_portal_access(app, it).token) for it in grants)
    svix.authentication.expire_all(app, api.ApplicationTokenExpireIn(session_ids=["anna"]))
    check(status_of(lambda: anna.endpoint.list(app)) == 401, "a named session has ended")
    check(len(ben.endpoint.list(app).data) == 1, "another one has not")
    svix.authentication.expire_all(app, api.ApplicationTokenExpireIn())
    check(status_of(lambda: ben.endpoint.list(app)) == 401, "all sessions have ended")


def client(token: str):
    return Recorder(api.Svix(token, api.SvixOptions(server_url=os.environ["POSTHORN_URL"])))


def main() -> None:
    svix, receiver = client(os.environ["POSTHORN_TOKEN"]), Receiver()
    svix.health.get()
    check(True, "healthy")
    applications(svix)
    event_types(svix)
    sections = (endpoints, headers, signing_secrets, messages, attempts, recovery, examples)
    for section in (*sections, statistics, portal):
        section(svix, receiver)
    print(f"{len(Recorder.called)} operations")


if __name__ == "__main__":
    main()
