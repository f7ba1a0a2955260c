"""Speaks to clients, and asks about them: `python pusher.py group lobby text 'hello, lobby'`."""

import asyncio
import sys

from beats import gateways
from bus import ask, connect, nc, push


async def confirm(kind, name, **command):
    """Does a command, and waits for the answer: from then on the new uid or group is heard."""
    answers = await ask(kind, name, **command)
    if not answers or "error" in answers[0]:
        sys.exit(answers[0]["error"] if answers else "nobody is there")


async def count(kind, name):
    """How many clients a uid, a group or all have. Every gateway answers, also one with none."""
    everybody, to = await gateways(), {"to": name} if name else {}

    def complete(answers):
        return everybody <= {answer["gateway"] for answer in answers}

    answers = await ask("all", None, complete, ask="count", target=kind, **to)
    if not complete(answers):
        sys.exit("not every gateway answered")
    return sum(answer.get("count", 0) for answer in answers)


async def is_online(uid):
    """Whether a uid has a client. A gateway that had one until now says 0, so one 0 is no `no`."""

    def found(answers):
        return any(answer.get("count") for answer in answers)

    return found(await ask("uid", uid, found, patience=1, ask="count"))


async def main(kind, *words):
    name, words = (None, words) if kind == "all" else (words[0], words[1:])
    await connect()
    match words:
        case ["text", text]:
            await push(kind, name, do="send", message=text)
        case ["binary", digits]:
            await push(kind, name, do="send", message=bytes.fromhex(digits))
        case ["bind_uid", uid]:
            await confirm(kind, name, do="bind_uid", uid=uid)
        case ["join", group]:
            await confirm(kind, name, do="join", group=group)
        case ["count"]:
            print(await count(kind, name))
        case ["online"]:
            print("yes" if await is_online(name) else "no")
    await nc.drain()


asyncio.run(main(*sys.argv[1:]))
