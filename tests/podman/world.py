"""A release of the chart, running: NATS, and every pod that Helm renders, each with an address of its own."""

import asyncio
import contextlib
import shutil
import subprocess

import trustme
import yaml

import engine
import kubelet
from chart import CHART, every, find, merged, render, tool
from engine import FOLDER, podman
from kubelet import Deployment

# The names in the certificate, and by which pods find it, as in the production example.
NATS_NAME = "nats.bus.svc.cluster.local"
PASSWORDS = {user: f"{user}-s3cret" for user in ("gateway", "worker", "api", "operator")}
API_TOKEN = "0123456789abcdef0123456789abcdef"

# The production example, with images that were built here, and with times that a test can wait for.
VALUES = merged(
    yaml.safe_load((CHART / "examples/production.yaml").read_text()),
    {
        "image": {"registry": "localhost", "tag": "test"},
        "gateway": {
            "image": {"repository": "gateway-svc"},
            "replicas": 2,
            "autoscaling": {"enabled": False},
            "trustedProxies": [],
            # containers here are nobody's, and ports below 1024 are root's
            "listeners": {"websocket": {"service": "echo", "servicePort": 7272}},
            "drain": {"delaySeconds": 2, "spreadSeconds": 3, "marginSeconds": 15},
            "reconnect": {"min": "100ms", "max": "1s"},
            # shorter than a visitor's patience for an answer
            "unreadyAfter": "1s",
        },
        "api": {"image": {"repository": "api-svc"}, "replicas": 1, "service": {"port": 7281}},
        "workers": {
            "chat": None,
            "hello": {
                "image": {"repository": "hello", "tag": "test"},
                "replicas": 2,
                "stop": {"timeoutSeconds": 10, "marginSeconds": 5},
                "rollout": {"minReadySeconds": 1},
            },
        },
        "smokeTest": {"send": "hello, world", "expect": "hello, world"},
    },
)


class Nats:
    """The server, with the users and permissions of the examples, and TLS."""

    def __init__(self, authority):
        self.image = engine.image_of(tool("NATS_SERVER_BIN"), "nats", "nats-server")
        self.folder = FOLDER / "run/nats"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        certificate = authority.issue_cert(NATS_NAME)
        (self.folder / "tls.crt").write_bytes(b"".join(c.bytes() for c in certificate.cert_chain_pems))
        (self.folder / "tls.key").write_bytes(certificate.private_key_pem.bytes())
        roles = (CHART / "examples/nats-server.conf").read_text()
        tls = 'tls { cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key" }\n'
        (self.folder / "nats.conf").write_text(roles + tls)
        self.start()

    def start(self):
        passwords = [f"--env={user.upper()}_PASSWORD={password}" for user, password in PASSWORDS.items()]
        podman("run", "--detach", "--name=nats", "--network", kubelet.NETWORK, f"--network-alias={NATS_NAME}", "--read-only",
               "--tmpfs=/tmp", f"--volume={self.folder}:/etc/nats:ro", *passwords, self.image, "-c", "/etc/nats/nats.conf")

    def stop(self):
        podman("rm", "--force", "--time=5", "nats")

    def log(self):
        run = subprocess.run(["podman", "logs", "nats"], capture_output=True, text=True)
        return run.stdout + run.stderr


class World:
    """What `helm install` leads to."""

    def __init__(self, values=VALUES):
        self.objects = render(values)
        self.deployments = {}

    async def start(self):
        kubelet.make_network()
        authority = trustme.CA()
        self.nats = Nats(authority)
        kubelet.lay_out({
            "nats-ca": {"ca.crt": authority.cert_pem.bytes()},
            "nats-auth": {user: PASSWORDS[user] for user in ("gateway", "worker", "api")},
            "api-tokens": {"tokens": f"{API_TOKEN} shop\n"},
        })
        services = {o["metadata"]["name"]: o["metadata"]["namespace"] for o in every(self.objects, "Service")}
        for rendered in every(self.objects, "Deployment"):
            name = rendered["metadata"]["name"]
            # a Service is a name for its pods; its ports are the pods' own here
            aliases = [f"{name}.{services[name]}"] if name in services else []
            self.deployments[name] = Deployment(rendered, aliases)
        await asyncio.gather(*(d.start() for d in self.deployments.values()))

    @property
    def gateways(self):
        return self.deployments["gatebus-gateway"]

    @property
    def workers(self):
        return self.deployments["gatebus-worker-hello"]

    @property
    def api(self):
        return self.deployments["gatebus-api"]

    def all_pods(self):
        return [pod for d in self.deployments.values() for pod in d.pods]

    def helm_test(self):
        """Runs the pod of `helm test` to its end: exit status, and what it said."""
        spec = find(self.objects, "Pod")["spec"]
        arguments = kubelet.run_arguments("smoke", spec, [])
        run = subprocess.run(["podman", "run", "--rm", *arguments], capture_output=True, text=True, timeout=120)
        return run.returncode, run.stdout + run.stderr

    def stop(self):
        podman("rm", "--all", "--force", "--time=0")
        podman("network", "rm", kubelet.NETWORK)


@contextlib.asynccontextmanager
async def world():
    engine.configure()
    this = World()
    try:
        await this.start()
        yield this
    except BaseException:
        for pod in this.all_pods():
            print(f"── {pod.name}\n{pod.logs()[-3000:]}")
        print(f"── nats\n{this.nats.log()[-3000:]}")
        raise
    finally:
        this.stop()
