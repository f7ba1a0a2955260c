"""Every example renders, the same with both Helms, into what every version of Kubernetes accepts."""

import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from chart import CHART, EVERYTHING, EXAMPLES, HELMS, every, find, helm, pod, render, tool, variables

VERSIONS = ["1.27", "1.30", "1.34", "1.37"]
CUSTOM = {"monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io", "networking.gke.io"}
RENDERED = [*EXAMPLES, "everything"]


def objects_of(example, **options):
    return render(EVERYTHING if example == "everything" else example, **options)


def is_custom(o):
    return o["apiVersion"].split("/")[0] in CUSTOM


def test_the_examples_that_are_promised_are_there():
    promised = "minimal production surge traefik alb gke gateway-api keda tls creds mutual-tls multi-tenant".split()
    assert sorted(promised) == EXAMPLES


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_lints_it(example, version):
    helm(version, "lint", "--strict", str(CHART), "--values", str(CHART / "examples" / f"{example}.yaml"))


@pytest.mark.parametrize("example", RENDERED)
def test_both_helms_render_the_same(example):
    three, four = (objects_of(example, version=version) for version in HELMS)
    key = lambda o: (o["kind"], o["metadata"]["name"])
    assert sorted(three, key=key) == sorted(four, key=key)
    assert three


@pytest.mark.parametrize("example", RENDERED)
def test_helm_3_and_4_give_each_object_a_name_of_its_own(example):
    names = [(o["kind"], o["metadata"]["name"]) for o in objects_of(example)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", RENDERED)
def test_kubernetes_accepts_it(example, version):
    checked = 0
    for o in objects_of(example):
        if not is_custom(o):
            kubernetes_validate.validate(o, version, strict=True)
            checked += 1
    assert checked > 3


def test_strict_validation_finds_a_field_that_does_not_exist():
    service = next(o for o in render("minimal") if o["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "sort": "ClusterIP"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def ask_schemas(objects=(), queries=()):
    asked = json.dumps({"objects": list(objects), "queries": list(queries)})
    script = Path(__file__).with_name("schemas.mjs").read_text()
    command = ["node", "--input-type=module", "--eval", script]
    run = subprocess.run(command, cwd=tool("HELM_TEST_MODULES"), input=asked, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_custom_resources_are_what_their_schemas_say():
    found = [(example, o) for example in RENDERED for o in objects_of(example) if is_custom(o)]
    answers = ask_schemas(objects=[o for _, o in found])["objects"]
    wrong = [(example, o["kind"], says) for (example, o), says in zip(found, answers) if says]
    assert not wrong
    kinds = {o["kind"] for _, o in found}
    assert kinds == {"PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute", "GCPBackendPolicy", "HealthCheckPolicy"}


def test_the_schemas_find_mistakes():
    scaled = next(o for o in render("keda") if o["kind"] == "ScaledObject")
    wrong = json.loads(json.dumps(scaled))
    wrong["spec"]["minReplicaCount"] = "three"
    route = next(o for o in render("gateway-api") if o["kind"] == "HTTPRoute")
    other = json.loads(json.dumps(route))
    other["spec"]["hostnames"] = "ws.example.com"
    assert all(ask_schemas(objects=[wrong, other])["objects"])


@pytest.mark.parametrize("example", RENDERED)
def test_an_hpa_and_keda_never_scale_the_same(example):
    objects = objects_of(example)
    hpa = [o["spec"]["scaleTargetRef"]["name"] for o in objects if o["kind"] == "HorizontalPodAutoscaler"]
    keda = [o["spec"]["scaleTargetRef"]["name"] for o in objects if o["kind"] == "ScaledObject"]
    assert not set(hpa) & set(keda)
    for deployment in (o for o in objects if o["kind"] == "Deployment"):
        scaled = deployment["metadata"]["name"] in hpa + keda
        assert scaled == ("replicas" not in deployment["spec"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_begins_with_what_it_is_for(example):
    text = (CHART / "examples" / f"{example}.yaml").read_text()
    assert text.startswith("# ")
    assert yaml.safe_load(text)


def mentioned(key, o):
    """The values of a key, anywhere in an object."""
    if isinstance(o, dict):
        for name, inner in o.items():
            if name == key:
                yield inner
            yield from mentioned(key, inner)
    elif isinstance(o, list):
        for inner in o:
            yield from mentioned(key, inner)


def test_production_says_all_that_must_be_there_before():
    text = (CHART / "examples/production.yaml").read_text()
    before = text.partition("# Before")[2].partition("\nimage:")[0]
    found = render("production")
    secrets = {name for o in found for name in mentioned("secretName", o)}
    secrets |= {ref["name"] for o in found for ref in mentioned("secretKeyRef", o)}
    assert secrets == {"nats-auth", "nats-ca", "api-tokens", "chat-database"}
    for name in secrets:
        assert re.search(rf"\b{name}\b", before), name
    custom = {o["apiVersion"].partition("/")[0] for o in found if is_custom(o)}
    assert custom == {"gateway.networking.k8s.io", "monitoring.coreos.com"}
    for what in ("Gateway API", "Prometheus operator", "prometheus-adapter", "metrics-server"):
        assert what in before
    # and nothing that no one makes
    assert not [name for o in found for name in mentioned("priorityClassName", o)]


def test_gateways_in_production_scale_by_more_than_one_signal():
    metrics = find(render("production"), "HorizontalPodAutoscaler", "gatebus-gateway")["spec"]["metrics"]
    assert [m["type"] for m in metrics] == ["Pods", "Resource"]
    assert metrics[1]["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 300}}


def test_helms_test_in_production_asks_a_worker():
    args = find(render("production"), "Pod")["spec"]["containers"][0]["args"]
    assert args[-1] == '--send={"type":"ping"}'


def test_no_example_stands_behind_what_is_retired():
    for example in EXAMPLES:
        assert "nginx" not in (CHART / "examples" / f"{example}.yaml").read_text(), example


# Those with a load balancer of a cloud, and where it is told how to ask for health.
CLOUDS = {
    "alb": lambda found: find(found, "Ingress")["metadata"]["annotations"],
    "tls": lambda found: find(found, "Service", "gatebus-gateway")["metadata"]["annotations"],
    "gke": lambda found: find(found, "HealthCheckPolicy")["spec"]["default"]["config"]["httpHealthCheck"],
}


@pytest.mark.parametrize("example", CLOUDS)
def test_a_clouds_load_balancer_asks_readyz_and_has_time_to_hear_that_a_pod_goes(example):
    found = render(example)
    told = CLOUDS[example](found)
    [port] = [v for k, v in told.items() if k.endswith("healthcheck-port") or k == "port"]
    [path] = [v for k, v in told.items() if k.endswith("healthcheck-path") or k == "requestPath"]
    d = find(found, "Deployment", "gatebus-gateway")
    assert int(port) == int(variables(d)["GATEBUS_ADMIN"].rpartition(":")[2])
    assert path == pod(d)["containers"][0]["readinessProbe"]["httpGet"]["path"]
    assert int(variables(d)["GATEBUS_DRAIN_DELAY"].rstrip("s")) >= 30


def test_tls_at_the_gateway_is_tested_by_the_name_that_clients_use():
    found = render("tls")
    assert find(found, "Pod")["spec"]["containers"][0]["args"][1] == "--url=wss://ws.example.com/"
    annotations = CLOUDS["tls"](found)
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol"] == "http"
    assert len(every(found, "Pod")) == 1
