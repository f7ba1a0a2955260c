"""Every example renders, the same with both Helms, into what every version of Kubernetes accepts."""

import json
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from chart import CHART, EVERYTHING, EXAMPLES, HELMS, helm, render, tool

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
