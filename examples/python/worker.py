"""A worker of a service, `python worker.py chat`: start as many as you like, SIGTERM stops one."""

import asyncio
import logging
import os
import signal
import sys

from batch import ack, handle, read
from beats import beat, keep_beating
from bus import PREFIX, connect, nc

MOST = 100  # batches at once
ME, SERVICE = os.urandom(6).hex(), sys.argv[1]
deliveries, tasks = {}, set()  # the newest delivery of each batch at work, and who is at work


async def take(message):
    """Takes a delivery, and returns at once: batches of other clients stand behind it."""
    batch = read(message)
    key = batch["client"], batch["seq"]
    if key in deliveries:  # again: it is the same work, and its end answers the newest delivery
        deliveries[key] = batch
        await ack(ME, batch, {"status": "progress"})
    elif len(deliveries) == MOST:
        await ack(ME, batch, {"status": "busy"})
    else:
        deliveries[key] = batch
        tasks.add(task := asyncio.create_task(work(key, batch)))
        task.add_done_callback(tasks.discard)


async def work(key, batch):
    handling = asyncio.create_task(handle(batch))
    third = batch.get("ack_wait", 10_000) / 3000
    while not (await asyncio.wait({handling}, timeout=third))[0]:
        await ack(ME, deliveries[key], {"status": "progress"})
    await ack(ME, deliveries.pop(key), handling.result())


async def main():
    stop, me = asyncio.Event(), {"worker": ME, "service": SERVICE, "version": "1"}
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await connect()
    events = await nc.subscribe(f"{PREFIX}.event.{SERVICE}.*", SERVICE, take)
    own = await nc.subscribe(f"{PREFIX}.worker.{ME}.*", cb=take)  # of clients that stick to it
    beating = asyncio.create_task(keep_beating(me))
    await stop.wait()
    await beat(me, "draining")
    await asyncio.gather(events.drain(), own.drain())  # each unsubscribes, then takes what had come
    await asyncio.gather(*tasks, return_exceptions=True)
    beating.cancel()
    await beat(me, "leaving")
    await nc.drain()


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
