"""The chart under test: rendering it with both Helms, and looking into what comes out."""

import functools
import json
import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm"
NAMESPACE = "shop"
RELEASE = "gatebus"
# The files in examples/ that are values of this chart.
EXAMPLES = sorted(f.stem for f in (CHART / "examples").glob("*.yaml") if f.stem != "nats-values")
# The least that renders.
NATS = {"nats": {"url": "nats://nats.bus:4222"}}


def tool(variable):
    """A program that `cargo xtask test` names."""
    path = os.environ.get(variable)
    assert path, f"{variable} is not set: run these tests with `cargo xtask test --only helm`"
    assert Path(path).exists(), f"{variable} names {path}, which is not there"
    return path


HELMS = {"3.17": "HELM3_BIN", "4.3": "HELM4_BIN"}


class Refused(Exception):
    """Helm did not render; the text says why."""


def helm(version, *args, stdin=None):
    run = subprocess.run([tool(HELMS[version]), *args], input=stdin, capture_output=True, text=True, timeout=60)
    if run.returncode:
        raise Refused(run.stdout + run.stderr)
    return run.stdout


@functools.cache
def _template(version, values, chart, release, namespace):
    return helm(version, "template", release, chart, "--namespace", namespace, "--values", "-", stdin=values)


def template(values, version="4.3", chart=CHART, release=RELEASE, namespace=NAMESPACE):
    """The text that Helm renders of these values: a map, or the name of an example."""
    text = (CHART / "examples" / f"{values}.yaml").read_text() if isinstance(values, str) else json.dumps(values)
    return _template(version, text, str(chart), release, namespace)


def render(values, **options):
    """The objects."""
    return [o for o in yaml.load_all(template(values, **options), Loader=yaml.CSafeLoader) if o]


def merged(*maps):
    """Maps over each other, as Helm does it with several files."""
    result = {}
    for one in maps:
        for key, value in one.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def with_nats(values=None, **options):
    """The objects of these values, and a NATS server."""
    return render(merged(NATS, values or {}), **options)


def find(objects, kind, name=None):
    """The one object of a kind, and of a name if there are several."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''} among {[(o['kind'], o['metadata']['name']) for o in objects]}"
    return found[0]


def every(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def container(deployment):
    return pod(deployment)["containers"][0]


def variables(deployment):
    """The variables of the first container, by name; None where the value comes from elsewhere."""
    entries = container(deployment)["env"]
    by_name = {e["name"]: e.get("value") for e in entries}
    assert len(by_name) == len(entries), "a variable is set twice"
    return by_name


def gateway(values=None, **options):
    return find(with_nats(values, **options), "Deployment", "gatebus-gateway")


def refusal(values):
    """What Helm says instead of rendering; both versions, one after the other."""
    said = []
    for version in HELMS:
        try:
            template(values, version=version)
        except Refused as refused:
            said.append(str(refused))
        else:
            raise AssertionError(f"Helm {version} renders it")
    return said


WORKER = {"workers": {"chat": {"image": {"repository": "acme/chat", "tag": "1"}}}}
API = {"api": {"enabled": True, "tokens": {"existingSecret": "tokens"}}}
EVERYTHING = merged(
    NATS,
    WORKER,
    API,
    {
        "gateway": {
            "autoscaling": {"enabled": True},
            "ingress": {"enabled": True, "hosts": ["ws.example.com"]},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        },
        "networkPolicy": {"enabled": True},
        "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
        "dashboards": {"enabled": True},
    },
)
