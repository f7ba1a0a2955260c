"""A batch: events of one client, handled one after another, and answered with one ack."""

import logging

import cbor2

from bus import nc
from events import Retry, on_event


def read(message):
    """The batch that a NATS message brings, with its kind and the subject for its acks."""
    kind = message.subject.rsplit(".", 1)[1]
    return cbor2.loads(message.data) | {"kind": kind, "reply": message.reply}


async def handle(batch):
    """Handles the events, and returns what the ack says of them."""
    session = cbor2.loads(batch["session"]) if batch.get("session") else {}
    before = {key: cbor2.dumps(value) for key, value in session.items()}
    result = {"status": "done", "failed": 0, "commands": []}
    for handled, (kind, event) in enumerate(events(batch)):
        try:
            said = [message async for message in on_event(kind, event, batch, session)]
            result["commands"] += [{"do": "send", "message": message} for message in said]
        except Retry:
            result |= {"status": "retry", "handled": handled}
            break
        except Exception:  # of the events only this one is lost, and the worker goes on
            logging.exception("a %s of %s failed", kind, batch["client"])
            result["failed"] += 1
    # Only what changed: somebody else may have changed another key meanwhile.
    changed = {key: v for key, v in session.items() if cbor2.dumps(v) != before.get(key)}
    removed = [key for key in before if key not in session]
    if changed or removed:
        result["session"] = {"set": cbor2.dumps(changed), "removed": removed}
    return result


def events(batch):
    """The batch's events in their order, each with its kind."""
    if batch.get("connect"):
        yield "connect", None
    for event in batch.get("messages") or [batch.get("handshake", batch.get("close"))]:
        yield batch["kind"], event


async def ack(worker, batch, result):
    """Answers one delivery of the batch."""
    delivery = {"conn": batch["client"][12:], "seq": batch["seq"], "attempt": batch["attempt"]}
    message = {"worker": worker, "acks": [delivery | result]}
    await nc.publish(batch["reply"], cbor2.dumps(message))
