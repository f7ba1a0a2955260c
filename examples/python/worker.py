"""A whole worker: `python worker.py`. Copy it, and replace `on_event` by your application."""

import asyncio
import logging
import os
import signal

import cbor2
import nats

ME, SERVICE = os.urandom(6).hex(), os.environ.get("GATEBUS_SERVICE", "chat")
PREFIX, attempts, tasks = os.environ.get("GATEBUS_PREFIX", "gatebus"), {}, {}


async def on_event(kind, event, batch):
    """Handles an event. What it yields is sent to the client: str as text, bytes as binary."""
    if kind == "message":
        yield event


async def take(delivery):  # at once: other clients' batches stand behind it
    batch = cbor2.loads(delivery.data)
    attempts[batch["client"]] = batch["attempt"]  # what comes again meanwhile is the same work
    if batch["client"] not in tasks:
        tasks[batch["client"]] = asyncio.create_task(work(batch, delivery))


async def work(batch, delivery):
    commands, failed, kind = [], 0, delivery.subject.rsplit(".", 1)[1]
    events = batch.get("messages") or [batch.get("handshake", batch.get("close"))]
    for kind, event in [("connect", None)] * batch.get("connect", 0) + [(kind, e) for e in events]:
        try:
            commands += [{"do": "send", "message": it} async for it in on_event(kind, event, batch)]
        except Exception:  # of the events only this one is lost, and the worker goes on
            logging.exception("a %s of %s failed", kind, batch["client"])
            failed += 1
    del tasks[batch["client"]]
    ack = {"conn": batch["client"][12:], "seq": batch["seq"], "status": "done", "failed": failed}
    ack |= {"attempt": attempts.pop(batch["client"]), "commands": commands}
    await delivery.respond(cbor2.dumps({"worker": ME, "acks": [ack]}))


async def main():
    async def say(error):
        logging.warning("NATS: %s", error)
    urls, stop = os.environ.get("NATS_URL", "nats://127.0.0.1:4222").split(","), asyncio.Event()
    nc = await nats.connect(urls, error_cb=say, max_reconnect_attempts=-1)
    events = await nc.subscribe(f"{PREFIX}.event.{SERVICE}.*", SERVICE, take)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logging.info("worker %s is ready", ME)
    await stop.wait()
    # Leaves, and takes what had come; finishes it; acks it. Without NATS it comes again elsewhere.
    for last in ([events.drain()], tasks.values(), [nc.drain()]):
        await asyncio.gather(*last, return_exceptions=True)


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
