"""Clients as the examples' pages are: they number what they say, and come back when they are told to."""

import asyncio
import random
import re

import websockets

# So many messages are on their way at a time.
WINDOW = 4
ADVICE = re.compile(r"reconnect;min=(\d+);max=(\d+)")


class Visitor:
    """Says numbers and hears them again; what was not heard when a connection ended is said again on the next one."""

    def __init__(self, name, endpoints):
        self.name = name
        # a function, for they change
        self.endpoints = endpoints
        self.heard = 0
        self.said = 0
        self.ends = []
        self.waits = []
        self.visits = 0
        self.leaving = asyncio.Event()

    async def stay(self):
        while not self.leaving.is_set():
            host, port = random.choice(self.endpoints())
            # a visitor who is refused has no second try: that would be a rollout that is noticed
            async with websockets.connect(f"ws://{host}:{port}/", compression=None, ping_interval=None, open_timeout=10) as socket:
                self.visits += 1
                try:
                    await self.talk(socket)
                except websockets.ConnectionClosed as end:
                    await self.told(end)

    async def talk(self, socket):
        self.said = self.heard
        while not self.leaving.is_set():
            while self.said < self.heard + WINDOW:
                self.said += 1
                await socket.send(f"{self.name} {self.said}")
            async with asyncio.timeout(20):
                answer = await socket.recv()
            # each one, once, in order
            assert answer == f"{self.name} {self.heard + 1}", f"{answer!r} after {self.heard}"
            self.heard += 1
            await asyncio.sleep(0.02)

    async def told(self, end):
        assert end.rcvd is not None, f"{self.name} was cut off"
        self.ends.append((end.rcvd.code, end.rcvd.reason))
        advice = ADVICE.fullmatch(end.rcvd.reason)
        assert advice, end.rcvd
        least, most = map(int, advice.groups())
        await asyncio.sleep(random.uniform(least, most) / 1000)


class Passers:
    """Clients who come one after another, say one thing and go: nobody who comes during a rollout may be refused."""

    def __init__(self, endpoints):
        self.endpoints = endpoints
        self.leaving = asyncio.Event()
        self.served = 0

    async def stay(self):
        while not self.leaving.is_set():
            host, port = random.choice(self.endpoints())
            async with websockets.connect(f"ws://{host}:{port}/", compression=None, open_timeout=10) as socket:
                try:
                    await socket.send("passing by")
                    async with asyncio.timeout(20):
                        assert await socket.recv() == "passing by"
                except websockets.ConnectionClosed as end:
                    # who comes to a gateway that leaves is told so, too
                    assert end.rcvd is not None and end.rcvd.code == 1012, end
            self.served += 1
            await asyncio.sleep(0.02)


class Crowd:
    """Visitors who come, stay and go together; the first one who fails fails the test."""

    def __init__(self, size, endpoints):
        self.visitors = [Visitor(f"v{n}", endpoints) for n in range(size)]
        self.passers = Passers(endpoints)

    async def __aenter__(self):
        self.stays = [asyncio.create_task(v.stay()) for v in [*self.visitors, self.passers]]
        await self.all_hear(1)
        return self

    async def all_hear(self, more):
        """Waits until each has heard so many more of its messages."""
        goal = {v: v.heard + more for v in self.visitors}
        async with asyncio.timeout(60):
            while any(v.heard < goal[v] for v in self.visitors):
                self.check()
                await asyncio.sleep(0.02)

    def check(self):
        for stay in self.stays:
            if stay.done():
                stay.result()

    async def __aexit__(self, *failure):
        for visitor in self.visitors:
            visitor.leaving.set()
        self.passers.leaving.set()
        await asyncio.gather(*self.stays, return_exceptions=failure[0] is not None)

    def ends(self):
        return [end for v in self.visitors for end in v.ends]
