"""Beats: how workers and gateways know each other, in the place of a register."""

import asyncio
import logging
import random

import cbor2

from bus import PREFIX, nc


async def beat(worker, state):
    if worker.get("state") != state:
        worker["state"] = state
        logging.info("worker %s is %s", worker["worker"], state)
    await nc.publish(f"{PREFIX}.beat.worker.{worker['worker']}", cbor2.dumps(worker))


async def keep_beating(worker):
    """Beats every second, and when somebody asks who is there."""

    async def answer(_):
        await asyncio.sleep(random.uniform(0, 0.05))  # everybody answers: not all at once
        await beat(worker, worker["state"])

    await nc.subscribe(f"{PREFIX}.who", cb=answer)
    await nc.flush()  # now the server has this worker's subscriptions
    await beat(worker, "ready")
    while True:
        await asyncio.sleep(1)
        await beat(worker, worker["state"])


async def gateways():
    """The ids of all gateways: who has to answer a question to everybody."""
    found = set()

    async def hear(message):
        process = cbor2.loads(message.data)
        shards = {shard["gateway"] for shard in process["shards"]}
        if process["state"] == "leaving":
            found.difference_update(shards)
        else:
            found.update(shards)

    beats = await nc.subscribe(f"{PREFIX}.beat.gateway.*", cb=hear)
    await nc.publish(f"{PREFIX}.who")
    await asyncio.sleep(1)  # a program that asks often keeps the subscription and need not wait
    await beats.unsubscribe()
    return found
