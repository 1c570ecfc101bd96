#!/usr/bin/env python3
"""Runs receive.py on a delivery: a file with `secret`, `headers` and `body`."""

import json
import pathlib
import sys

from receive import receive

delivery = json.loads(pathlib.Path(sys.argv[1]).read_text())
secret, headers, body = delivery["secret"], delivery["headers"], delivery["body"].encode()
flipped = bytes([body[0] ^ 1]) + body[1:]
answers = [receive(secret, headers, body), receive(secret, headers, flipped)]
print(f"  {'ok' if answers == [204, 400] else 'FAILED'}  receive.py answers {answers}")
sys.exit(answers != [204, 400])
