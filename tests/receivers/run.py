#!/usr/bin/env python3
"""Runs receive.py on a delivery: a file with `secret`, `headers` and `body`; and on one that is no JSON."""

import datetime
import json
import pathlib
import sys

from receive import receive
from standardwebhooks import Webhook

delivery = json.loads(pathlib.Path(sys.argv[1]).read_text())
secret, headers, body = delivery["secret"], delivery["headers"], delivery["body"].encode()
flipped = bytes([body[0] ^ 1]) + body[1:]
now = datetime.datetime.now(tz=datetime.UTC)
signature = Webhook(secret).sign(headers["webhook-id"], now, "<a/>")
text = {**headers, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
answers = [
    receive(secret, headers, body),
    receive(secret, headers, flipped),
    receive(secret, text, b"<a/>"),
    receive(secret, text, b"<b/>"),
    receive(secret, text, b"\xff"),
]
good = answers == [204, 400, 204, 400, 400]
print(f"  {'ok' if good else 'FAILED'}  receive.py answers {answers}")
sys.exit(not good)
