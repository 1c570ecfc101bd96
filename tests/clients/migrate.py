#!/usr/bin/env python3
"""Copies event types, applications and endpoints, with their secrets, from one Svix API to another.

Can be repeated: what is there already stays as it is. Needs: pip install svix
"""

import argparse

from svix.api import (
    ApplicationIn,
    ApplicationListOptions,
    EndpointIn,
    EndpointListOptions,
    EventTypeIn,
    EventTypeListOptions,
    Svix,
    SvixOptions,
)


def pages(read, options):
    """All items of a list."""
    iterator = None
    while True:
        page = read(options(limit=250, iterator=iterator))
        yield from page.data
        if page.done:
            return
        iterator = page.iterator


def uid_of(one) -> str:
    return one.uid or f"svix.{one.id}"


def set_fields(model, names: set[str]) -> dict:
    return model.model_dump(include=names, exclude_none=True)


def copy(old: Svix, new: Svix) -> None:
    known = {one.name for one in pages(new.event_type.list, EventTypeListOptions)}
    for event_type in pages(old.event_type.list, EventTypeListOptions):
        if event_type.name not in known:
            fields = set_fields(event_type, {"name", "description", "schemas", "group_name", "feature_flags"})
            new.event_type.create(EventTypeIn(**fields))
    for application in pages(old.application.list, ApplicationListOptions):
        fields = set_fields(application, {"name", "metadata", "throttle_rate"})
        uid = uid_of(application)
        new.application.get_or_create(ApplicationIn(**fields, uid=uid))
        copy_endpoints(old, application.id, new, uid)


def copy_endpoints(old: Svix, old_app: str, new: Svix, new_app: str) -> None:
    there = {one.uid for one in pages(lambda page: new.endpoint.list(new_app, page), EndpointListOptions)}
    for endpoint in pages(lambda page: old.endpoint.list(old_app, page), EndpointListOptions):
        uid = uid_of(endpoint)
        if uid in there:
            continue
        secret = old.endpoint.get_secret(old_app, endpoint.id).key
        if not secret.startswith("whsec_"):
            print(f"{new_app}/{uid}: left out, the old server shows no private key of {endpoint.url}")
            continue
        names = {"url", "description", "channels", "disabled", "event_types", "metadata", "throttle_rate"}
        headers = old.endpoint.get_headers(old_app, endpoint.id)
        new.endpoint.create(
            new_app,
            EndpointIn(
                **set_fields(endpoint, names),
                uid=uid,
                secret=secret,
                headers=headers.headers or None,
            ),
        )
        print(f"{new_app}/{uid}: copied")
        if headers.sensitive:
            print(f"{new_app}/{uid}: set these headers by hand: {', '.join(headers.sensitive)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["--from-url", "--from-token", "--to-url", "--to-token"]:
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    copy(
        Svix(given.from_token, SvixOptions(server_url=given.from_url)),
        Svix(given.to_token, SvixOptions(server_url=given.to_url)),
    )


if __name__ == "__main__":
    main()
