"""Values: each is documented, is in the schema, and is refused where it makes no sense."""

import json
import re
import shutil

import pytest
import yaml

import values_table
from chart import API, CHART, HELMS, NATS, ROOT, WORKER, find, merged, refusal, render, template

TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key))


def resolve(schema):
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def schema_paths(schema, path=()):
    """The values that the schema knows, down to where it allows any name."""
    schema = resolve(schema)
    for key, inner in schema.get("properties", {}).items():
        inner = resolve(inner)
        if "properties" in inner:
            yield from schema_paths(inner, (*path, key))
        else:
            yield ".".join((*path, key))


def test_every_value_is_documented():
    documented = values_table.described(TEXT)
    for leaf in leaves(VALUES):
        assert any(leaf == path or leaf.startswith(path + ".") for path in documented), leaf
    for path, text in documented.items():
        values_table.value_at(VALUES, path)
        assert len(text) > 3 and not text.endswith("."), path


def test_the_readme_has_them_all():
    assert (CHART / "README.md").read_text() == values_table.page(), "run python tests/helm/values_table.py"


# What values.yaml leaves open, because nothing is there by default.
OPEN = {"gateway.nats", "gateway.pod", "api.nats", "api.pod", "workerDefaults.nats", "workerDefaults.pod",
        "gateway.httpRoute.timeouts", "global",
        *(f"{part}.probes.{probe}" for part in ("gateway", "api", "workerDefaults") for probe in ("startup", "liveness", "readiness"))}


def test_every_value_is_in_the_schema_and_the_other_way_round():
    known = set(schema_paths(SCHEMA))
    for leaf in leaves(VALUES):
        assert any(leaf == path or leaf.startswith(path + ".") for path in known | OPEN), leaf
    for path in known:
        if any(path == o or path.startswith(o + ".") for o in OPEN) or path.endswith("resources.claims"):
            continue
        try:
            values_table.value_at(VALUES, path)
        except KeyError:
            raise AssertionError(f"values.yaml has no {path}") from None


def test_no_object_of_the_schema_takes_unknown_names():
    def walk(schema, path):
        if isinstance(schema, dict):
            if "properties" in schema and schema.get("type") == "object":
                assert schema["additionalProperties"] is False, path
            for key, inner in schema.items():
                walk(inner, f"{path}/{key}")

    walk(SCHEMA, "")


UNKNOWN = ["gatewayy", "nats.uri", "nats.auth.pass", "nats.ca.file", "smokeTest.address", "workerDefaults.metrics", "image.name", "pod.label", "gateway.replica",
           "gateway.image.name", "gateway.limits.maxConns", "gateway.events.wait", "gateway.ping.every", "gateway.drain.delay", "gateway.reconnect.least",
           "gateway.rollout.strategy", "gateway.log.level", "gateway.probes.live", "gateway.autoscaling.max",
           "gateway.autoscaling.keda.prometheus", "gateway.pdb.min", "gateway.service.ports", "gateway.ingress.host",
           "gateway.httpRoute.hosts", "gateway.networkPolicy.to", "gateway.nats.uri", "gateway.pod.label", "api.token",
           "api.tokens.file", "api.limits.body", "workerDefaults.stop.seconds", "networkPolicy.dns", "metrics.serviceMonitor",
           "metrics.podMonitor.every", "metrics.prometheusRule.alerts", "dashboards.folder", "serviceAccount.token",
           "gateway.probes.readiness.failureTreshold", "api.probes.liveness.httpGet.uri", "workerDefaults.probes.startup.period",
           "gateway.listeners.websocket.tls.secret", "gateway.listeners.websocket.path"]


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_misspelt_value_is_refused_by_name(path):
    values = "x"
    for key in reversed(path.split(".")):
        values = {key: values}
    for said in refusal(merged(NATS, values)):
        assert path.rpartition(".")[2] in said


def gateway(**values):
    return {"gateway": values}


def worker(**values):
    return merged(WORKER, {"workers": {"chat": values}})


# Values, and what Helm says of them: the value's name and the remedy.
REFUSALS = {
    "nothing runs": (gateway(enabled=False), ["nothing would run", "gateway.enabled"]),
    "no address of NATS": ({"nats": {"url": ""}}, ["nats.url is empty", "--set nats.url="]),
    "an address of something else": ({"nats": {"url": "bogus://x"}}, ["url"]),
    "NATS over WebSocket, which the programs do not speak": ({"nats": {"url": "wss://nats.bus:443"}}, ["url"]),
    "an address with a path": (gateway(nats={"url": "nats://nats.bus:4222/x"}), ["url"]),
    "an address that ends too late": ({"nats": {"url": "nats://a:4222,"}}, ["url"]),
    "a probe without a port": (worker(probes={"liveness": {"httpGet": {"port": None}}}), ["port"]),
    "a probe that never fails": (gateway(probes={"liveness": {"failureThreshold": 0}}), ["failureThreshold"]),
    "a password in the address": ({"nats": {"url": "nats://ann:s3@n:4222"}}, ["nats.url holds a user", "existingSecret"]),
    "a password in a component's address": (gateway(nats={"url": "nats://t0k@n:4222"}), ["gateway: nats.url holds a user"]),
    "a method without a Secret": ({"nats": {"auth": {"method": "creds"}}}, ["method is creds", "nats.auth.existingSecret"]),
    "a Secret without a method": ({"nats": {"auth": {"existingSecret": "s"}}}, ["nats.auth.method", "password, token, nkey, creds or tls"]),
    "a password without a user": ({"nats": {"auth": {"method": "password", "existingSecret": "s"}}}, ["name the user in nats.auth.user"]),
    "a user without a password": ({"nats": {"auth": {"user": "ann"}}}, ["belongs to nats.auth.method=password"]),
    "a key of a certificate's Secret": ({"nats": {"auth": {"method": "tls", "existingSecret": "s", "key": "cert"}}}, ["nats.auth.key is cert", "tls.crt and tls.key"]),
    "an unknown method": ({"nats": {"auth": {"method": "kerberos"}}}, ["method"]),
    "a prefix with a wildcard": ({"nats": {"prefix": "a.*"}}, ["prefix"]),
    "a grace period that is too short": (gateway(terminationGracePeriodSeconds=60), ["gateway.terminationGracePeriodSeconds is 60", "90 at least"]),
    "a worker's grace period that is too short": (worker(terminationGracePeriodSeconds=30), ["workers.chat.terminationGracePeriodSeconds is 30", "40 at least"]),
    "an API's grace period that is too short": (merged(API, {"api": {"terminationGracePeriodSeconds": 5}}), ["api.terminationGracePeriodSeconds is 5", "30 at least"]),
    "no margin": (gateway(drain={"marginSeconds": 5}), ["marginSeconds"]),
    "steady without patience": (gateway(rollout={"minReadySeconds": 30}), ["gateway.rollout.minReadySeconds is 30", "70", "surge"]),
    "steady without any patience": (gateway(rollout={"minReadySeconds": 0}), ["gateway.rollout.minReadySeconds is 0", "70"]),
    "a surge of a quarter": (gateway(rollout={"profile": "surge", "maxSurge": "25%"}), ["gateway.rollout.maxSurge is 25%", "leave it out", "minReadySeconds, which is 30, to 310"]),
    "a surge of one pod of two": (gateway(rollout={"profile": "surge", "maxSurge": 1, "minReadySeconds": 0}), ["gateway.rollout.maxSurge is 1:", "which is 0, to 310"]),
    "no time for the last acknowledgement": (gateway(events={"ackWait": "5m"}, drain={"marginSeconds": 20}), ["gateway.drain.marginSeconds is 20", "gateway.events.ackWait (5m)", "305 at least"]),
    "no time for the last request": (merged(API, {"api": {"limits": {"requestTimeout": "120s"}, "drain": {"marginSeconds": 20}}}), ["api.drain.marginSeconds is 20", "api.limits.requestTimeout (120s)", "125 at least"]),
    "a grace period without the last request": (merged(API, {"api": {"limits": {"requestTimeout": "120s"}, "terminationGracePeriodSeconds": 30}}), ["api.terminationGracePeriodSeconds is 30", "140 at least"]),
    "a deadline before anything is ready": (gateway(rollout={"progressDeadlineSeconds": 60}), ["progressDeadlineSeconds is 60", "which is 70"]),
    "a rollout that cannot move": (gateway(rollout={"maxSurge": 0}), ["maxSurge and maxUnavailable are both 0"]),
    "a rollout that cannot move, in percent": (worker(rollout={"maxSurge": "0%"}), ["workers.chat.rollout", "both 0"]),
    "an unknown profile": (gateway(rollout={"profile": "fast"}), ["profile"]),
    "two budgets": (gateway(pdb={"minAvailable": 1}), ["gateway.pdb", "exclude each other", "null"]),
    "no budget": (gateway(pdb={"maxUnavailable": None}), ["gateway.pdb", "maxUnavailable or minAvailable"]),
    "fewer at most than at least": (gateway(autoscaling={"enabled": True, "minReplicas": 9, "maxReplicas": 3}), ["minReplicas (9) is more than maxReplicas (3)"]),
    "nothing to scale by": (worker(autoscaling={"enabled": True, "cpuUtilization": None}), ["workers.chat.autoscaling", "nothing to scale by", "metrics"]),
    "nothing for KEDA to scale by": (worker(autoscaling={"enabled": True, "engine": "keda", "cpuUtilization": None}), ["nothing to scale by", "keda.triggers"]),
    "triggers for an HPA": (worker(autoscaling={"enabled": True, "keda": {"triggers": [{"type": "cron"}]}}), ["keda.triggers are for engine=keda"]),
    "metrics for KEDA": (worker(autoscaling={"enabled": True, "engine": "keda", "metrics": [{"type": "Resource"}]}), ["autoscaling.metrics are for engine=hpa"]),
    "KEDA without Prometheus": (gateway(autoscaling={"enabled": True, "engine": "keda"}), ["gateway.autoscaling.keda.prometheusAddress is empty"]),
    "both scalers at once": (gateway(autoscaling={"enabled": True, "engine": "both"}), ["engine"]),
    "pods that are full before others come": (gateway(autoscaling={"enabled": True, "connectionsPerPod": 20000}), ["connectionsPerPod is 20000", "maxConnections (20000)"]),
    "a variable that the chart sets": (gateway(env={"GATEBUS_DRAIN_SPREAD": "1s"}), ["gateway.env: GATEBUS_DRAIN_SPREAD is set by the chart"]),
    "a worker's variable that the chart sets": (worker(env={"NATS_URL": "nats://x"}), ["workers.chat.env: NATS_URL is set by the chart"]),
    "a name that is no variable": (gateway(env={"A-B": "x"}), ["A-B"]),
    "a worker without an image": ({"workers": {"chat": {"image": {"tag": "1"}}}}, ["workers.chat.image.repository is empty"]),
    "a worker without a tag": ({"workers": {"chat": {"image": {"repository": "a"}}}}, ["workers.chat.image: name a tag or a digest"]),
    "a share of batches that no pod can hold": (worker(autoscaling={"enabled": True, "batchesPerPod": 1024}), ["workers.chat.autoscaling.batchesPerPod is 1024", "concurrency (1024)"]),
    "scaling by a metric that nobody tells": (worker(adminPort=None, autoscaling={"enabled": True, "batchesPerPod": 100}), ["batchesPerPod is a metric of the worker's, and adminPort is null"]),
    "scaling a worker by KEDA without Prometheus": (worker(autoscaling={"enabled": True, "engine": "keda", "batchesPerPod": 100}), ["workers.chat.autoscaling.keda.prometheusAddress is empty", "set batchesPerPod to null"]),
    "an answer to nothing": ({"smokeTest": {"expect": "hi"}}, ["smokeTest.expect is an answer", "smokeTest.send"]),
    "a test's address that is none": ({"smokeTest": {"url": "http://a/"}}, ["url"]),
    "a worker's name in capitals": ({"workers": {"Chat": {"image": {"repository": "a", "tag": "1"}}}}, ["Chat"]),
    "a worker's name that is too long": ({"workers": {"c" * 21: {"image": {"repository": "a", "tag": "1"}}}}, ["c" * 21]),
    "a misspelt value of a worker": (worker(replica=3), ["replica"]),
    "a digest that is none": (gateway(image={"digest": "sha256:abc"}), ["digest"]),
    "a tag that is a number": (worker(image={"tag": 1.1}), ["tag"]),
    "no listener": (gateway(listeners={"websocket": None}), ["gateway.listeners is empty"]),
    "two listeners on one port": (gateway(listeners={"b": {"protocol": "text", "port": 7272, "service": "x"}}), ["gateway.listeners.websocket.port is 7272", "gateway.listeners.b.port"]),
    "a listener on the admin port": (gateway(listeners={"websocket": {"port": 7280}}), ["gateway.listeners.websocket.port is 7280", "gateway.adminPort"]),
    "two listeners on one port of the Service": (gateway(listeners={"b": {"protocol": "text", "port": 1, "servicePort": 80, "service": "x"}}), ["the Service's port 80"]),
    "a listener called admin": (gateway(listeners={"admin": {"protocol": "text", "port": 1, "service": "x"}}), ["admin"]),
    "a protocol that is not known": (gateway(listeners={"websocket": {"protocol": "ws"}}), ["protocol"]),
    "a routing that is not known": (gateway(listeners={"websocket": {"routing": "random"}}), ["routing"]),
    "a service that is no name": (gateway(listeners={"websocket": {"service": "a b"}}), ["service"]),
    "a port that is none": (gateway(listeners={"websocket": {"port": 70000}}), ["port"]),
    "two ways to say addresses": (gateway(trustedProxies=["10.0.0.0/8"], listeners={"websocket": {"proxyProtocol": True}}), ["proxyProtocol and gateway.trustedProxies exclude each other"]),
    "an address that is none": (gateway(bindAddress="localhost"), ["bindAddress"]),
    "an Ingress to no host": (gateway(ingress={"enabled": True}), ["gateway.ingress.hosts is empty"]),
    "an Ingress to no listener": (gateway(ingress={"enabled": True, "hosts": ["a"], "listener": "web"}), ["gateway.ingress.listener is web"]),
    "an Ingress to lines of text": (gateway(listeners={"b": {"protocol": "text", "port": 1, "service": "x"}}, ingress={"enabled": True, "hosts": ["a"], "listener": "b"}), ["speaks text", "LoadBalancer"]),
    "an Ingress that should speak the PROXY protocol": (gateway(listeners={"websocket": {"proxyProtocol": True}}, ingress={"enabled": True, "hosts": ["a"]}), ["X-Forwarded-For", "trustedProxies"]),
    "a route to nowhere": (gateway(httpRoute={"enabled": True}), ["gateway.httpRoute.parentRefs is empty"]),
    "a route to no listener": (gateway(httpRoute={"enabled": True, "parentRefs": [{"name": "p"}], "listener": "web"}), ["gateway.httpRoute.listener is web"]),
    "a time without a unit": (gateway(ping={"interval": "25"}), ["interval"]),
    "a size without a unit": (gateway(limits={"maxMessage": "many"}), ["maxMessage"]),
    "a text for a number": (gateway(replicas="two"), ["replicas"]),
    "a half pod": (gateway(replicas=1.5), ["replicas"]),
    "no shard": (gateway(shards=0), ["shards"]),
    "an API that lets nobody in": ({"api": {"enabled": True}}, ["api.tokens.existingSecret", "api.noAuth=true"]),
    "an API with and without tokens": (merged(API, {"api": {"noAuth": True}}), ["api.tokens.existingSecret and api.noAuth exclude"]),
    "an API on one port": (merged(API, {"api": {"port": 7282}}), ["api.port is 7282"]),
    "a pod's label that is the chart's": ({"pod": {"labels": {"app.kubernetes.io/name": "x"}}}, ["app.kubernetes.io/name"]),
    "a name that is too long": ({"fullnameOverride": "x" * 35}, ["fullnameOverride"]),
    "an image policy that is none": ({"image": {"pullPolicy": "Sometimes"}}, ["pullPolicy"]),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_it_is_refused_and_told_why(what):
    values, words = REFUSALS[what]
    for said in refusal(merged(NATS, values)):
        # what Helm adds of its own is not looked at
        plain = " ".join(said.split())
        for word in words:
            assert word in plain, plain


def test_every_check_of_the_chart_is_among_them():
    checks = (CHART / "templates/_checks.tpl").read_text()
    messages = re.findall(r'append \$wrong (?:\(printf )?"((?:[^"\\]|\\.)*)"', checks)
    assert len(messages) > 30
    said = " ".join(" ".join(s.split()) for values, _ in REFUSALS.values() for s in refusal(merged(NATS, values))[:1])
    for message in messages:
        pieces = [p for p in re.split(r"%[sd]", message) if len(p.strip()) > 8]
        assert all(" ".join(p.split()) in said for p in pieces), f"no test of: {message}"


def test_all_complaints_come_at_once():
    values = gateway(terminationGracePeriodSeconds=1, ingress={"enabled": True})
    for said in refusal(merged(NATS, values)):
        assert "terminationGracePeriodSeconds" in said and "ingress.hosts" in said


def test_a_release_needs_nothing_but_the_address():
    assert "kind: Deployment" in template(NATS)


ADDRESSES = ["nats://nats.bus:4222", "tls://nats.bus.svc.cluster.local.:4222", "nats.bus", "nats.bus:4333", "nats://10.0.0.1/",
             "nats://[fd00::1]:4222", "nats://a:4222, nats://b:4222,tls://c"]


@pytest.mark.parametrize("url", ADDRESSES)
def test_every_address_that_the_programs_take_is_taken(url):
    for version in HELMS:
        assert f"value: {url}" in template({"nats": {"url": url}}, version=version).replace("'", "").replace('"', "")


def test_a_probe_can_be_taken_away():
    values = merged(NATS, WORKER, {"gateway": {"probes": {"startup": None}}, "workers": {"chat": {"probes": {"startup": None}}}})
    for version in HELMS:
        for name in ("gatebus-gateway", "gatebus-worker-chat"):
            found = find(render(values, version=version), "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
            assert "startupProbe" not in found and "livenessProbe" in found


def test_a_parent_charts_values_are_borne():
    template(merged(NATS, {"global": {"imageRegistry": "x"}}))


NOTES = {
    "no worker yet": ({}, ["No worker runs yet", "Anybody who reaches NATS", "port-forward service/gatebus-gateway 7272:80", "ws://127.0.0.1:7272"]),
    "an Ingress with TLS": (gateway(ingress={"enabled": True, "hosts": ["a.example"], "tls": [{"secretName": "t"}]}), ["wss://a.example/"]),
    "an API": (API, ["http://gatebus-api.shop:80/v1/"]),
    "a look": ({}, ["helm -n shop test gatebus --logs", "asks gateways only", "smokeTest.send"]),
    "a look at a worker": ({"smokeTest": {"send": "x"}}, ["helm -n shop test gatebus --logs"]),
    "users": ({"nats": {"auth": {"method": "token", "existingSecret": "s"}}}, ["kubectl -n shop get pods"]),
}


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("what", NOTES)
def test_the_notes_tell_the_next_step(what, version, tmp_path):
    values, words = NOTES[what]
    # only an installation shows them, and that needs a cluster: so a copy of the chart makes an object of them
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy)
    notes = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    (copy / "templates/shown.yaml").write_text("kind: Notes\napiVersion: v1\nmetadata: {name: notes}\ntext: " + notes)
    said = find(render(merged(NATS, values), version=version, chart=copy), "Notes")["text"]
    for word in words:
        assert word in said, said
    assert ("Anybody who reaches NATS" in said) == ("nats" not in values)
    assert ("asks gateways only" in said) == ("smokeTest" not in values)


def test_chart_and_programs_have_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    cargo = (ROOT / "Cargo.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in cargo
    assert chart["kubeVersion"] == ">=1.27.0-0"
    assert "dependencies" not in chart


def test_more_objects_are_templates():
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    assert find(render(merged(NATS, {"extraObjects": [extra]})), "ConfigMap")["metadata"]["name"] == "gatebus-more"
