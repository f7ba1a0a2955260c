"""A worker of a service, `python worker.py chat`: start as many as you like, SIGTERM stops one."""

import asyncio
import functools
import logging
import os
import signal
import sys

from batch import ack, handle, read
from beats import beat, keep_beating
from bus import PREFIX, connect, nc

MOST = 100  # batches at once
ME, SERVICE = os.urandom(6).hex(), sys.argv[1]
deliveries, tasks = {}, set()  # the newest delivery of each client's batch, and who is at work
settle = functools.partial(asyncio.gather, return_exceptions=True)


async def take(message):
    """Takes a delivery, and returns at once: batches of other clients stand behind it."""
    batch = read(message)
    old = deliveries.get(client := batch["client"])
    if old and old["seq"] == batch["seq"]:  # the same work: its end answers the newest delivery
        deliveries[client] = batch
        await ack(ME, batch, {"status": "progress"})
    elif old or len(deliveries) == MOST:  # never two batches of a client at the same time
        await ack(ME, batch, {"status": "busy"})
    else:
        deliveries[client] = batch
        tasks.add(task := asyncio.create_task(work(batch)))
        task.add_done_callback(tasks.discard)


async def work(batch):
    client, handling = batch["client"], asyncio.create_task(handle(batch))
    third = batch.get("ack_wait", 10_000) / 3000
    while not (await asyncio.wait({handling}, timeout=third))[0]:
        await ack(ME, deliveries[client], {"status": "progress"})
    await ack(ME, deliveries.pop(client), handling.result())


async def main():
    await connect()
    stop, me = asyncio.Event(), {"worker": ME, "service": SERVICE, "version": "1"}
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    events = await nc.subscribe(f"{PREFIX}.event.{SERVICE}.*", SERVICE, take)
    own = await nc.subscribe(f"{PREFIX}.worker.{ME}.*", cb=take)  # of clients that stick to it
    beating = asyncio.create_task(keep_beating(me))
    await stop.wait()
    # Leaves, and takes what had come; finishes it. Without NATS it comes again, elsewhere.
    await settle(beat(me, "draining"), events.drain(), own.drain())
    await settle(*tasks)
    beating.cancel()
    await settle(beat(me, "leaving"))
    await settle(nc.drain())


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
