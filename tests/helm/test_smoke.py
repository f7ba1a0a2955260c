"""`helm test`: a pod of the gateway's own image that visits a gateway as a client does."""

from chart import EVERYTHING, HELMS, NATS, every, find, merged, render, with_nats

TLS = {"gateway": {"listeners": {"websocket": {"tls": {"secretName": "t"}}}}}
PROXY = {"gateway": {"listeners": {"websocket": {"proxyProtocol": True}}}}


def args(values):
    return find(with_nats(values), "Pod")["spec"]["containers"][0]["args"]


def test_it_is_a_hook_that_stays_until_the_next_one():
    annotations = find(render(NATS), "Pod")["metadata"]["annotations"]
    assert annotations == {"helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation"}


def test_it_runs_the_gateways_image_in_its_security_context():
    found = render(merged(EVERYTHING, {"image": {"registry": "r.example", "pullSecrets": [{"name": "p"}]}}))
    spec = find(found, "Pod")["spec"]
    gateway = find(found, "Deployment", "gatebus-gateway")["spec"]["template"]["spec"]
    [own], [theirs] = spec["containers"], gateway["containers"]
    assert own["image"] == theirs["image"] == "r.example/gatebus/gateway-svc:0.1.0"
    assert own["securityContext"] == theirs["securityContext"]
    assert spec["securityContext"] == gateway["securityContext"]
    assert spec["imagePullSecrets"] == gateway["imagePullSecrets"]
    assert spec["restartPolicy"] == "Never" and own["resources"]["limits"]["memory"]


def test_it_visits_the_service():
    assert args({}) == ["smoke", "--url=ws://gatebus-gateway.shop:80/", "--timeout=30s"]
    other = {"fullnameOverride": "gw", "gateway": {"listeners": {"websocket": {"servicePort": None}}}}
    assert args(other)[1] == "--url=ws://gw-gateway.shop:7272/"


def test_it_says_something_to_the_worker_if_it_is_told_to():
    said = args({"smokeTest": {"send": "hello there", "expect": "hello there", "timeout": "5s"}})
    assert said[2:] == ["--timeout=5s", "--send=hello there", "--expect=hello there"]


def test_it_takes_another_address():
    assert args(merged(TLS, {"smokeTest": {"url": "wss://ws.example.com/"}}))[1] == "--url=wss://ws.example.com/"


def test_there_is_none_where_it_could_not_succeed_or_is_not_wanted():
    for values in (TLS, PROXY, {"smokeTest": {"enabled": False}}):
        assert not every(with_nats(values), "Pod"), values


def test_network_policies_let_it_through():
    peers = [{"namespaceSelector": {}}]
    values = merged(EVERYTHING, {"gateway": {"networkPolicy": {"from": peers}}})
    for version in HELMS:
        found = render(values, version=version)
        its_labels = find(found, "Pod")["metadata"]["labels"]
        public = find(found, "NetworkPolicy", "gatebus-gateway")["spec"]["ingress"][0]
        visitor = public["from"][-1]["podSelector"]["matchLabels"]
        assert visitor.items() <= its_labels.items() and len(visitor) == 3
        own = find(found, "NetworkPolicy", "gatebus-test")["spec"]
        assert own["podSelector"]["matchLabels"].items() <= its_labels.items()
        assert own["ingress"] == []
        [_, to] = own["egress"]
        gateway = find(found, "Deployment", "gatebus-gateway")["spec"]["template"]["metadata"]["labels"]
        assert to["to"][0]["podSelector"]["matchLabels"].items() <= gateway.items()
    elsewhere = find(render(merged(values, {"smokeTest": {"url": "wss://ws.example.com/"}})), "NetworkPolicy", "gatebus-test")
    assert elsewhere["spec"]["egress"][-1] == {}
    assert not every(render(merged(values, {"smokeTest": {"enabled": False}})), "Pod")
