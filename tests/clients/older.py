#!/usr/bin/env python3
"""One run with an older official Python client, whichever PYTHONPATH holds (1.18 to 1.70 are tried): those before
1.22 end every path with a slash, and send fields that newer ones do not.

POSTHORN_URL and POSTHORN_TOKEN (an organization's) say where the stack is, which must be local.
"""

import base64
import os
import secrets
import sys

from receiver import Receiver, check, poll
from svix import __version__, api
from svix.exceptions import HttpError

# Names that no other run of the script uses.
RUN = secrets.token_hex(4)
PAID = f"invoice.paid.{RUN}"


def status_of(call) -> int:
    """The status code of the error that the client raises."""
    try:
        call()
    except HttpError as error:
        return error.status_code
    return 0


def ids(page) -> list[str]:
    return [item.id for item in page.data]


def event_types(svix) -> None:
    made = svix.event_type.create(api.EventTypeIn(name=PAID, description="First"))
    check(svix.event_type.get(PAID).description == made.description == "First", "an event type is made and read")
    put = svix.event_type.update(PAID, api.EventTypeUpdate(description="Second"))
    check(put.description == "Second", "an event type is replaced")
    patched = svix.event_type.patch(PAID, api.EventTypePatch(description="Third"))
    check(patched.description == "Third", "an event type is patched")
    check(PAID in [one.name for one in svix.event_type.list().data], "it is listed")


def applications(svix) -> str:
    uid = f"acme-{RUN}"
    made = svix.application.create(api.ApplicationIn(name="Acme", uid=uid))
    check(svix.application.get(uid).id == made.id, f"application {made.id} is read by its uid")
    same = svix.application.get_or_create(api.ApplicationIn(name="Other", uid=uid))
    check(same.id == made.id, "get_or_create returns it")
    put = svix.application.update(made.id, api.ApplicationIn(name="Acme Ltd.", uid=uid))
    patched = svix.application.patch(made.id, api.ApplicationPatch(name="Acme Inc."))
    check((put.name, patched.name) == ("Acme Ltd.", "Acme Inc."), "it is replaced and patched")
    check(made.id in ids(svix.application.list(api.ApplicationListOptions(limit=250))), "it is listed")
    return made.id


def endpoints(svix, app: str, url: str) -> str:
    ep = svix.endpoint.create(app, api.EndpointIn(url=url, description="First", filter_types=[PAID])).id
    check(svix.endpoint.get(app, ep).filter_types == [PAID], f"endpoint {ep} is made and read")
    put = svix.endpoint.update(app, ep, api.EndpointUpdate(url=url, description="Second"))
    patched = svix.endpoint.patch(app, ep, api.EndpointPatch(description="Third"))
    check((put.description, patched.description) == ("Second", "Third"), "it is replaced and patched")
    check(ids(svix.endpoint.list(app)) == [ep], "it is listed")
    svix.endpoint.update_headers(app, ep, api.EndpointHeadersIn(headers={"X-Kept": "1", "X-Changed": "2"}))
    svix.endpoint.patch_headers(app, ep, api.EndpointHeadersPatchIn(headers={"X-Changed": "3"}))
    shown = svix.endpoint.get_headers(app, ep).headers
    shown = shown if isinstance(shown, dict) else shown.additional_properties
    check(shown == {"X-Kept": "1", "X-Changed": "3"}, "its headers are set and patched")
    return ep


def signing_secret(svix, app: str, ep: str) -> str:
    first = svix.endpoint.get_secret(app, ep).key
    svix.endpoint.rotate_secret(app, ep, api.EndpointSecretRotateIn())
    second = svix.endpoint.get_secret(app, ep).key
    check(first != second, "the secret is rotated")
    own = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    svix.endpoint.rotate_secret(app, ep, api.EndpointSecretRotateIn(key=own))
    check(svix.endpoint.get_secret(app, ep).key == own, "a secret can be given")
    return own


def messages(svix, app: str, receiver: Receiver) -> str:
    message_in = api.MessageIn(event_type=PAID, event_id="first", channels=["north"], payload={"amount": 42})
    message = svix.message.create(app, message_in)
    headers, body = receiver.next()
    check(headers["webhook-id"] == message.id, f"message {message.id} is delivered")
    check(body.replace(b" ", b"") == b'{"amount":42}', "with its payload")
    check(headers["x-changed"] == "3", "and the endpoint's header")
    got = svix.message.get(app, message.id)
    check((got.payload, got.channels) == ({"amount": 42}, ["north"]), "it is read by its id")
    check(svix.message.get(app, "first").id == message.id, "and by its eventId")
    check(status_of(lambda: svix.message.create(app, message_in)) == 409, "an eventId is taken once")
    listed = svix.message.list(app, api.MessageListOptions(event_types=[PAID], channel="north"))
    check(ids(listed) == [message.id], "it is listed by type and channel")
    return message.id


def attempts(svix, app: str, ep: str, message: str, receiver: Receiver) -> None:
    attempt = svix.message_attempt
    made = poll(lambda: attempt.list_by_msg(app, message).data, "an attempt is recorded")[0]
    check((made.endpoint_id, made.response_status_code) == (ep, 204), "an attempt is listed by message")
    check(ids(attempt.list_by_endpoint(app, ep)) == [made.id], "and by endpoint")
    check(attempt.get(app, message, made.id).id == made.id, "it is read by its id")
    check(ids(attempt.list_attempted_destinations(app, message)) == [ep], "the destination is listed")
    check(ids(attempt.list_attempted_messages(app, ep)) == [message], "the message is listed by endpoint")
    attempt.resend(app, message, ep)
    check(receiver.next()[0]["webhook-id"] == message, "it is sent again")
    poll(lambda: len(attempt.list_by_msg(app, message).data) == 2, "the attempt of resend")
    attempt.expunge_content(app, message, made.id)
    check(attempt.get(app, message, made.id).response == "EXPUNGED", "a response is expunged")
    check(svix.endpoint.get_stats(app, ep).success is not None, "statistics are read")
    svix.message.expunge_content(app, message)
    check(svix.message.get(app, message).payload == {"expired": True}, "a payload is expunged")


def portal(svix, app: str, ep: str) -> None:
    user = client(svix.authentication.app_portal_access(app, api.AppPortalAccessIn()).token)
    check(ids(user.endpoint.list(app)) == [ep], "a portal token lists its endpoints")
    check(status_of(user.application.list) == 403, "not applications")
    user.authentication.logout()
    check(status_of(lambda: user.endpoint.list(app)) == 401, "after logout it is refused")


def deletes(svix, app: str, ep: str) -> None:
    svix.endpoint.delete(app, ep)
    check(status_of(lambda: svix.endpoint.get(app, ep)) == 404, "the endpoint is deleted")
    svix.event_type.delete(PAID)
    svix.application.delete(app)
    check(status_of(lambda: svix.application.get(app)) == 404, "the application is deleted")


def client(token: str):
    return api.Svix(token, api.SvixOptions(server_url=os.environ["POSTHORN_URL"]))


def main() -> None:
    wanted = sys.argv[1]
    check(__version__ == wanted, f"svix {__version__}")
    svix, receiver = client(os.environ["POSTHORN_TOKEN"]), Receiver()
    event_types(svix)
    app = applications(svix)
    ep = endpoints(svix, app, receiver.url)
    receiver.secret = signing_secret(svix, app, ep)
    message = messages(svix, app, receiver)
    attempts(svix, app, ep, message, receiver)
    portal(svix, app, ep)
    deletes(svix, app, ep)


if __name__ == "__main__":
    main()
