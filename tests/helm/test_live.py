"""What depends on the cluster: an API server that knows one Deployment answers what Helm asks of it."""

import contextlib
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from chart import CHART, API, HELMS, NAMESPACE, NATS, RELEASE, WORKER, find, merged, tool

DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/"
# What there is in the cluster, as far as a release has it.
GROUPS = {"apps/v1": ["Deployment"], "policy/v1": ["PodDisruptionBudget"], "autoscaling/v2": ["HorizontalPodAutoscaler"],
          "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"]}
CORE = ["Service", "ServiceAccount", "ConfigMap", "Pod"]


def resources(group_version, kinds):
    found = [{"name": f"{kind.lower()}s", "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]} for kind in kinds]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}


def groups():
    for group_version in GROUPS:
        named = {"groupVersion": group_version, "version": group_version.partition("/")[2]}
        yield {"name": group_version.partition("/")[0], "versions": [named], "preferredVersion": named}


ANSWERS = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": resources("v1", CORE),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups())},
    **{f"/apis/{gv}": resources(gv, kinds) for gv, kinds in GROUPS.items()},
}


@contextlib.contextmanager
def cluster(replicas):
    """A cluster with these Deployments, by name."""
    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            answer = ANSWERS.get(path)
            name = path.removeprefix(DEPLOYMENT)
            if path.startswith(DEPLOYMENT) and name in replicas:
                answer = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
                          "spec": {"replicas": replicas[name]}}
            status = 200 if answer else 404
            answer = answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upgrade(values, version, address, folder):
    """What an upgrade would write, having asked the cluster."""
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
              "clusters": [{"name": "k", "cluster": {"server": address}}],
              "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
    (folder / "config").write_text(json.dumps(config))
    options = ["--namespace", NAMESPACE, "--is-upgrade", "--dry-run=server", "--disable-openapi-validation", "--values", "-"]
    command = [tool(HELMS[version]), "template", RELEASE, str(CHART), *options]
    env = {**os.environ, "KUBECONFIG": str(folder / "config"), "HELM_CACHE_HOME": str(folder)}
    run = subprocess.run(command, input=json.dumps(values), env=env, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return [o for o in yaml.load_all(run.stdout, Loader=yaml.CSafeLoader) if o]


@pytest.mark.parametrize("version", HELMS)
def test_autoscaling_that_is_turned_on_keeps_the_pods_that_run(version, tmp_path):
    values = merged(NATS, API, WORKER, {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 3}}})
    with cluster({"gatebus-gateway": 17, "gatebus-worker-chat": 0, "gatebus-api": 9}) as address:
        found = upgrade(values, version, address, tmp_path)
        assert find(found, "Deployment", "gatebus-gateway")["spec"]["replicas"] == 17
        # who is not scaled has the number of the values
        assert find(found, "Deployment", "gatebus-api")["spec"]["replicas"] == 2
        scaled = merged(values, {"workers": {"chat": {"autoscaling": {"enabled": True}}}})
        assert find(upgrade(scaled, version, address, tmp_path), "Deployment", "gatebus-worker-chat")["spec"]["replicas"] == 0
    with cluster({}) as address:
        assert "replicas" not in find(upgrade(values, version, address, tmp_path), "Deployment", "gatebus-gateway")["spec"]
