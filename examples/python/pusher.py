"""A whole pusher: `python pusher.py group lobby text 'hello, lobby'`. Copy it.

Speaks to a `client`, a `uid`, a `group` or `all`; binds or joins a client, and waits until it is
done."""

import asyncio
import base64
import hashlib
import os
import re
import sys

import cbor2
import nats

PREFIX = os.environ.get("GATEBUS_PREFIX", "gatebus")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(name):
    """A uid or group name as one token: as it stands `a.b` would be two, and `*` everybody."""
    if re.fullmatch("[A-Za-z0-9_-]{1,48}", name):
        return name
    whole = "~" + base64url(name.encode())
    short = "~~" + base64url(hashlib.sha256(name.encode()).digest()[:16])
    return whole if len(whole) <= 96 else short


async def main(kind, *words):
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222").split(","))
    subject, request = f"{PREFIX}.all", {}
    if kind == "client":
        client, *words = words
        subject = f"{PREFIX}.client.{client[:12]}.{client[12:]}"
    elif kind != "all":
        request["to"], *words = words  # the gateway compares it: tokens of long names could clash
        subject = f"{PREFIX}.{kind}.{token(request['to'])}"
    match words:
        case ["text", text]:
            await nc.publish(subject, cbor2.dumps(request | {"do": "send", "message": text}))
        case ["binary", digits]:
            message = bytes.fromhex(digits)
            await nc.publish(subject, cbor2.dumps(request | {"do": "send", "message": message}))
        case ["bind_uid" | "join" as do, name] if kind == "client":
            request |= {"do": do, "uid" if do == "bind_uid" else "group": name}
            answer = cbor2.loads((await nc.request(subject, cbor2.dumps(request), 5)).data)
            print(answer.get("error", "done"))  # from now on the new uid or group is heard
        case _:
            sys.exit(__doc__)
    await nc.drain()


asyncio.run(main(*sys.argv[1:]))
