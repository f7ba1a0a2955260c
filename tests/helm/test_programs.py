"""The real programs, started with exactly what the chart gives them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import trustme

from chart import API, CHART, EVERYTHING, EXAMPLES, ROOT, WORKER, container, every, find, merged, pod, render, tool, variables, with_nats

RENDERED = [*EXAMPLES, "everything"]
PROGRAMS = {"gateway": "GATEWAY_BIN", "api": "API_BIN"}
# A user's seed that belongs to nobody.
SEED = "SUAAVWRZG6M5FA5VRRGWSCIHKTOJC7EWNIT4JV3FTOIPO4OBFR5WA7X5TE"
JWT = "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n" % SEED


def objects(example):
    return render(EVERYTHING if example == "everything" else example)


def component(deployment):
    return deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]


def known_variables(program):
    said = subprocess.run([tool(PROGRAMS[program]), "--help"], capture_output=True, text=True, timeout=30).stdout
    return set(re.findall(r"\[env: ([A-Z_]+)[=\]]", said))


def sdk_variables():
    source = (ROOT / "worker-sdk/src/worker.rs").read_text()
    table = source.partition("| variable | default |")[2].partition("pub fn from_env")[0]
    return set(re.findall(r"`((?:NATS|GATEBUS)_[A-Z_]+)`", table))


@pytest.mark.parametrize("example", RENDERED)
def test_every_variable_is_one_that_the_program_knows(example):
    for d in every(objects(example), "Deployment"):
        kind = component(d)
        known = known_variables(kind) if kind in PROGRAMS else sdk_variables()
        assert len(known) > 8
        own = {name for name in variables(d) if name.startswith(("GATEBUS_", "NATS_"))}
        assert own <= known, own - known


def test_every_option_of_the_gateway_can_be_said_in_values():
    values = merged(EVERYTHING, {"gateway": {"trustedProxies": ["10.0.0.0/8"], "ping": {"data": "ping"}}})
    said = set(variables(find(render(values), "Deployment", "gatebus-gateway")))
    files = {"NATS_USER", "NATS_PASSWORD_FILE", "NATS_TOKEN_FILE", "NATS_NKEY_FILE", "NATS_CREDS_FILE",
             "NATS_CA_FILE", "NATS_CERT_FILE", "NATS_KEY_FILE"}
    assert known_variables("gateway") - said - files == set()


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def status(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def mount(deployment, folder):
    """Lays out the pod's volumes, as the kubelet would, with contents of the right sort."""
    ca = trustme.CA()
    cert = ca.issue_cert("ws.example.com")
    texts = {"nats-ca": ca.cert_pem.bytes(), "tls.crt": cert.cert_chain_pems[0].bytes(),
             "tls.key": cert.private_key_pem.bytes(), "tokens": b"0123456789abcdef0123 shop\n"}
    env = variables(deployment)
    secret = b"s3cret"
    if "NATS_NKEY_FILE" in env:
        secret = SEED.encode()
    if "NATS_CREDS_FILE" in env:
        secret = JWT.encode()
    for volume in pod(deployment).get("volumes", []):
        [at] = [m["mountPath"] for m in container(deployment)["volumeMounts"] if m["name"] == volume["name"]]
        place = folder / at.lstrip("/")
        place.mkdir(parents=True)
        items = volume["secret"].get("items") or [{"path": "tls.crt"}, {"path": "tls.key"}]
        for item in items:
            (place / item["path"]).write_bytes(texts.get(item["path"]) or texts.get(volume["name"]) or secret)


@pytest.mark.parametrize("example", RENDERED)
def test_the_programs_start_with_what_the_chart_says_and_live_without_nats(example, tmp_path):
    for d in every(objects(example), "Deployment"):
        kind = component(d)
        if kind not in PROGRAMS:
            continue
        folder = tmp_path / kind
        folder.mkdir()
        mount(d, folder)
        ports = {p["containerPort"]: p["name"] for p in container(d)["ports"]}
        chosen = dict(zip(ports.values(), free_ports(len(ports))))
        env = {}
        for name, value in variables(d).items():
            for port, port_name in ports.items():
                value = value.replace(f"0.0.0.0:{port}", f"127.0.0.1:{chosen[port_name]}")
            env[name] = value.replace("/etc/gatebus/", f"{folder}/etc/gatebus/")
        # nobody is there: pods live all the same
        env["NATS_URL"] = re.sub(r"://.*", "://127.0.0.1:1", env["NATS_URL"])
        # a pod that never found NATS has nobody to let go
        scaled = {"DRAIN_DELAY": "0s"}
        env = {n: next((t for end, t in scaled.items() if n.endswith(end)), v) for n, v in env.items()}
        log = (folder / "log").open("w+")
        process = subprocess.Popen([tool(PROGRAMS[kind])], env=env, stdout=log, stderr=log)
        try:
            def says(path, expected):
                deadline = time.monotonic() + 20
                while status(chosen["admin"], path) != expected:
                    log.seek(0)
                    assert process.poll() is None, log.read()
                    assert time.monotonic() < deadline, f"{path} does not say {expected}"
                    time.sleep(0.02)

            probes = {p: container(d)[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "liveness", "readiness")}
            says(probes["startup"], 200)
            says(probes["liveness"], 200)
            says(probes["readiness"], 503)
            says("/metrics", 200)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
            process.wait()
            log.close()
