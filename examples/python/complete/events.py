"""The application: what a client's coming, speaking and going means. Replace this by yours."""

import asyncio
import logging

from bus import ask, push


class Retry(Exception):
    """Raised by a handler that wants its event again, after a pause, from whichever worker."""


async def on_event(kind, event, batch, session):
    """Handles one event: what it yields is sent to the client, and `session` is kept for the next.

    A str becomes a text frame, bytes become a binary one."""
    client = batch["client"]
    match [kind, *(event.split(" ", 2) if isinstance(event, str) else [event])]:
        case ["connect", _]:
            logging.info("%s comes from %s", client, batch["remote"])
        case ["websocket", handshake]:
            session["name"] = dict(handshake.get("query", [])).get("name", "somebody")
        case ["close", close]:
            for group in close.get("groups", []):
                await push("group", group, do="send", message=f"{session.get('name')} has left")
        case ["message", "join", group]:
            # Awaited: who publishes to the group after the answer reaches this client too.
            [answer] = await ask("client", client, do="join", group=group)
            yield answer.get("error", f"joined {group}")
        case ["message", "bind", uid]:
            [answer] = await ask("client", client, do="bind_uid", uid=uid)
            yield answer.get("error", f"bound {uid}")
        case ["message", "say", group, text]:
            await push("group", group, do="send", message=f"{session.get('name')}: {text}")
        case ["message", "set", key, value]:
            session[key] = value
        case ["message", "unset", key]:
            session.pop(key, None)
        case ["message", "get", key]:
            yield f"{key} is {session.get(key)}"
        case ["message", "slow", seconds]:
            await asyncio.sleep(float(seconds))
            yield f"slept {seconds}"
        case ["message", "retry", times]:
            if batch["attempt"] < int(times):
                raise Retry
            yield f"delivered {times}"
        case ["message", _, *_]:
            yield event
