from standardwebhooks import Webhook, WebhookVerificationError


def receive(secret: str, headers: dict[str, str], body: bytes) -> int:
    """The status to answer with. `body` is what arrived, byte by byte; header names are lower case."""
    try:
        # Not parsed: a payload may be any text (see `content-type`). Most are JSON.
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, UnicodeDecodeError):
        return 400
    # Deliveries may arrive twice: `webhook-id` stays the same, so remember it.
    print("received", headers["webhook-id"], body.decode())
    return 204
