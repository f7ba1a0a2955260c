"""The bus: whom a message is for, and how to ask; what all programs share of subjects.md."""

import base64
import hashlib
import logging
import os
import re

import cbor2
import nats

PREFIX = os.environ.get("GATEBUS_PREFIX", "gatebus")
nc = nats.NATS()  # one connection: a client hears what is published here in this order


async def say(error):
    logging.warning("NATS: %s", error)


async def connect():
    urls = os.environ.get("NATS_URL", "nats://127.0.0.1:4222").split(",")
    # For ever: a server that is away comes back.
    await nc.connect(urls, error_cb=say, max_reconnect_attempts=-1)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(name):
    """A uid or group name as one token: as it stands `a.b` would be two, and `*` everybody."""
    if re.fullmatch("[A-Za-z0-9_-]{1,48}", name):
        return name
    whole = "~" + base64url(name.encode())
    short = "~~" + base64url(hashlib.sha256(name.encode()).digest()[:16])
    return whole if len(whole) <= 96 else short


def subject(kind, name):
    """Where a `client` (by its id), a `uid`, a `group` or `all` is reached."""
    if kind == "client":
        return f"{PREFIX}.client.{name[:12]}.{name[12:]}"
    return f"{PREFIX}.all" if kind == "all" else f"{PREFIX}.{kind}.{token(name)}"


async def push(kind, name=None, reply="", **request):
    """Sends a command to a target. Without a reply subject nobody says what became of it."""
    if kind in ("uid", "group"):
        request["to"] = name  # the gateway compares it: tokens of long names could clash
    await nc.publish(subject(kind, name), cbor2.dumps(request), reply)


async def ask(kind, name=None, enough=bool, patience=5, **request):
    """Sends a command or a query; the gateways' answers, once they are enough or no more comes."""
    replies, answers = await nc.subscribe(nc.new_inbox()), []
    await push(kind, name, replies.subject, **request)
    try:
        # NATS itself answers, without data, where no gateway listens.
        while not enough(answers) and (message := await replies.next_msg(patience)).data:
            answers.append(cbor2.loads(message.data))
    except nats.errors.TimeoutError:
        pass  # whoever asked sees who is missing
    await replies.unsubscribe()
    return answers
