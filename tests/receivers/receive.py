from standardwebhooks import Webhook, WebhookVerificationError


def receive(secret: str, headers: dict[str, str], body: bytes) -> int:
    """The status to answer with. `body` is what arrived, byte by byte; header names are lower case."""
    try:
        event = Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return 400
    # Deliveries may come twice: `webhook-id` stays the same, so remember it.
    print("received", headers["webhook-id"], event)
    return 204
