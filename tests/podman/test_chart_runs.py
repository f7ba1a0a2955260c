"""The production example, rendered by Helm and run by podman: what clients see of it, and what they do not."""

import asyncio
import json
import urllib.request

import websockets

import kubelet
from visitors import Crowd
from world import API_TOKEN, world

VISITORS = 40


def story(test):
    """A test that is one asynchronous story in a world of its own."""
    def run():
        async def inside():
            async with world() as release:
                await test(release)
        asyncio.run(inside())
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def push(release, path, body):
    """A call of the HTTP API."""
    [(host, port)] = release.api.endpoints("http")
    request = urllib.request.Request(f"http://{host}:{port}{path}", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {API_TOKEN}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def metrics(pod):
    with urllib.request.urlopen(f"http://{pod.address}:{pod.ports['admin']}/metrics", timeout=5) as answer:
        return answer.read().decode()


def clients_at(release):
    return release.gateways.endpoints("websocket")


def assert_ended_well(release, ends):
    """Each by itself, in its time, and with nothing in its log that somebody would have to look at."""
    for pod, code in ends:
        assert code == 0, pod.logs()
        assert pod.took < pod.template["spec"]["terminationGracePeriodSeconds"], pod.name
        assert "ERROR" not in pod.logs(), pod.logs()


@story
async def test_what_a_client_says_goes_through_gateway_nats_and_worker_and_back(release):
    async with Crowd(VISITORS, lambda: clients_at(release)) as crowd:
        await crowd.all_hear(20)
    assert crowd.ends() == []
    # both workers have had their share, and helm's own test agrees
    for pod in release.workers.pods:
        assert 'gatebus_worker_events_total{service="echo",kind="message",outcome="done"} 0' not in metrics(pod)
    status, said = await asyncio.to_thread(release.helm_test)
    assert status == 0 and "is well" in said, said
    for pod in release.all_pods():
        for kind in ("startup", "liveness", "readiness"):
            assert pod.probe(kind), (pod.name, kind)


@story
async def test_a_back_end_reaches_clients_by_the_api(release):
    [(host, port), *_] = clients_at(release)
    async with websockets.connect(f"ws://{host}:{port}/") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await asyncio.to_thread(push, release, "/v1/all/send", {"text": "from the shop"})
        async with asyncio.timeout(10):
            assert await socket.recv() == "from the shop"


@story
async def test_a_rollout_of_gateways_is_a_1012_for_each_client_and_nothing_else(release):
    old = list(release.gateways.pods)
    async with Crowd(VISITORS, lambda: clients_at(release)) as crowd:
        await crowd.all_hear(5)
        ends = await release.gateways.restart()
        crowd.check()
        await crowd.all_hear(5)
        assert crowd.passers.served > 100
        assert not set(release.gateways.pods) & set(old)
        # every client was told so once at least, and is back
        assert {code for code, _ in crowd.ends()} == {1012}
        assert {reason for _, reason in crowd.ends()} == {"reconnect;min=100;max=1000"}
        assert all(len(v.ends) + 1 == v.visits and v.ends for v in crowd.visitors)
    assert_ended_well(release, ends)


@story
async def test_a_rollout_of_workers_is_nothing_to_clients(release):
    async with Crowd(VISITORS, lambda: clients_at(release)) as crowd:
        await crowd.all_hear(5)
        ends = await release.workers.restart()
        await crowd.all_hear(5)
    assert crowd.ends() == []
    assert_ended_well(release, ends)


@story
async def test_clients_stay_and_no_pod_is_restarted_while_nats_is_away(release):
    async with Crowd(VISITORS, lambda: clients_at(release)) as crowd:
        await crowd.all_hear(5)
        await asyncio.to_thread(release.nats.stop)
        for pod in release.all_pods():
            async with asyncio.timeout(30):
                while await asyncio.to_thread(pod.probe, "readiness"):
                    await asyncio.sleep(0.1)
            assert pod.probe("liveness"), pod.name
        await asyncio.to_thread(release.nats.start)
        await crowd.all_hear(5)
    assert crowd.ends() == []
    for pod in release.all_pods():
        await pod.ready()
        assert pod.state()["Running"]


@story
async def test_a_password_that_nats_does_not_know_is_seen_in_the_log_and_the_pod_stays_unready(release):
    kubelet.lay_out({"nats-auth": {"gateway": "not-this-one"}})
    [rendered] = [d.rendered for d in (release.gateways,)]
    pod = await asyncio.to_thread(kubelet.Pod, rendered, [])
    async with asyncio.timeout(30):
        while "authorization" not in (await asyncio.to_thread(pod.logs)).lower():
            await asyncio.sleep(0.1)
    if pod.state()["Running"]:
        assert pod.probe("liveness") and not pod.probe("readiness")
    assert "not-this-one" not in pod.logs()
