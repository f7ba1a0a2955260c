"""What a cluster does with a rendered Deployment, done with podman: pods, probes, endpoints, and rollouts.

Every field of a pod is either carried out or named in LEFT_OUT with the reason; one that is neither is an error, so
that nothing of the chart slips by unseen.
"""

import asyncio
import json
import math
import os
import subprocess
import time
import urllib.error
import urllib.request
from itertools import count

import engine
from engine import FOLDER, podman

NETWORK = "gatebus"
# What a single machine has no use for.
LEFT_OUT = {
    "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks",  # there is no API to talk to
    "topologySpreadConstraints", "priorityClassName", "restartPolicy", "activeDeadlineSeconds",  # nor are there nodes
}
LEFT_OUT_OF_CONTAINER = {"ports", "imagePullPolicy"}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# How long load balancers need to hear that a pod goes.
LAG = 0.7


def make_network():
    """Pods have addresses of their own, and find each other by name."""
    podman("network", "create", NETWORK)


def lay_out(secrets):
    """Secrets as the kubelet lays them out: root's, readable for the pod's group."""
    for secret, files in secrets.items():
        for key, content in files.items():
            path = FOLDER / "run/secrets" / secret / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def projected(volume, name, group):
    """The folder of a volume with a Secret: the keys that it names, with its mode."""
    secret = dict(volume["secret"])
    source = FOLDER / "run/secrets" / secret.pop("secretName")
    mode = secret.pop("defaultMode")
    items = secret.pop("items", None) or [{"key": p.name, "path": p.name} for p in source.iterdir()]
    assert not secret, secret
    folder = FOLDER / "run/volumes" / name / volume["name"]
    folder.mkdir(parents=True)
    for item in items:
        file = folder / item["path"]
        file.write_bytes((source / item["key"]).read_bytes())
        file.chmod(mode)
        os.chown(file, 0, group)
    return folder


def run_arguments(name, spec, aliases):
    """A pod with one container, as arguments of `podman run`; the aliases are names that others find it by."""
    spec = dict(spec)
    [container] = spec.pop("containers")
    container = dict(container)
    security = dict(spec.pop("securityContext"))
    own = dict(container.pop("securityContext"))
    assert security.pop("runAsNonRoot") is True
    assert security.pop("seccompProfile") == {"type": "RuntimeDefault"}
    user, group, fs_group = (security.pop(k) for k in ("runAsUser", "runAsGroup", "fsGroup"))
    assert own.pop("allowPrivilegeEscalation") is False
    assert own.pop("readOnlyRootFilesystem") is True
    assert own.pop("capabilities") == {"drop": ["ALL"]}
    arguments = [
        "--name", name, "--network", NETWORK, "--user", f"{user}:{group}", "--group-add", str(fs_group),
        "--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--stop-timeout", str(spec.pop("terminationGracePeriodSeconds", 30)),
        *(f"--network-alias={alias}" for alias in aliases),
    ]
    for volume in spec.pop("volumes", []):
        [mount] = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
        assert set(mount) == {"name", "mountPath", "readOnly"}
        arguments.append(f"--volume={projected(volume, name, fs_group)}:{mount['mountPath']}:ro")
    container.pop("volumeMounts", None)
    for entry in container.pop("env", []):
        arguments += ["--env", f"{entry['name']}={entry['value']}"]
    resources = container.pop("resources")
    memory = resources["limits"]["memory"]
    assert memory.endswith("Mi")
    arguments += ["--memory", memory.replace("Mi", "m")]
    command = container.pop("command", [])
    if command:
        arguments += ["--entrypoint", json.dumps(command)]
    arguments.append(container.pop("image"))
    arguments += container.pop("args", [])
    left = (set(container) - LEFT_OUT_OF_CONTAINER - set(PROBES) - {"name"}) | (set(spec) - LEFT_OUT)
    assert not left, f"fields of the chart that this does not carry out: {left}"
    return arguments


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Pod:
    """A running pod of a Deployment."""

    numbers = count(1)

    def __init__(self, deployment, aliases):
        self.template = deployment["spec"]["template"]
        [self.container] = self.template["spec"]["containers"]
        self.name = f"{deployment['metadata']['name']}-{next(self.numbers)}"
        self.ports = {p["name"]: p["containerPort"] for p in self.container.get("ports", [])}
        podman("run", "--detach", *run_arguments(self.name, self.template["spec"], aliases))
        self.address = engine.inspect("container", self.name)["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        self.is_ready = False
        # when it was told to end
        self.leaves = None

    def probe(self, kind):
        """Asks once, as the pod's own probe says; one that it has not is passed."""
        probe = self.container.get(f"{kind}Probe")
        if probe is None:
            return True
        asked = probe["httpGet"]
        return get(f"http://{self.address}:{self.ports[asked['port']]}{asked['path']}") == 200

    async def ready(self):
        """Waits until it is, at most for as long as its startup probe would."""
        for kind in ("startup", "readiness"):
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(self.probe, kind):
                    assert self.state()["Running"], self.logs()
                    await asyncio.sleep(0.1)
        self.is_ready = True

    async def terminate(self):
        """SIGTERM, and after its grace period SIGKILL; says how it ended."""
        self.leaves = time.monotonic()
        await asyncio.to_thread(podman, "stop", self.name)
        self.took = time.monotonic() - self.leaves
        return self.state()["ExitCode"]

    def state(self):
        return engine.inspect("container", self.name)["State"]

    def logs(self):
        run = subprocess.run(["podman", "logs", self.name], capture_output=True, text=True)
        return run.stdout + run.stderr


class Deployment:
    """Keeps a number of pods, and replaces them as the strategy says."""

    def __init__(self, rendered, aliases):
        self.rendered = rendered
        self.aliases = aliases
        self.spec = rendered["spec"]
        self.pods = []

    async def start(self):
        self.pods = [await asyncio.to_thread(Pod, self.rendered, self.aliases) for _ in range(self.spec["replicas"])]
        await asyncio.gather(*(pod.ready() for pod in self.pods))

    def endpoints(self, port):
        """Where the Service leads: to pods that are ready and do not leave, as far as it has heard."""
        heard = time.monotonic() - LAG
        return [(p.address, p.ports[port]) for p in self.pods if p.is_ready and (p.leaves is None or p.leaves > heard)]

    def surge(self):
        """How many pods may be there above the number: a share is rounded up."""
        value = self.spec["strategy"]["rollingUpdate"]["maxSurge"]
        assert self.spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        if isinstance(value, str):
            return math.ceil(self.spec["replicas"] * int(value.rstrip("%")) / 100)
        return value

    async def restart(self):
        """`kubectl rollout restart`: new pods, and for each that has been ready for long enough an old one goes."""
        old, leaving = list(self.pods), []
        while old:
            new = [await asyncio.to_thread(Pod, self.rendered, self.aliases) for _ in range(min(self.surge(), len(old)))]
            self.pods += new
            await asyncio.gather(*(pod.ready() for pod in new))
            await asyncio.sleep(self.spec["minReadySeconds"])
            for _ in new:
                leaving.append(asyncio.create_task(self.retire(old.pop(0))))
        return await asyncio.gather(*leaving)

    async def retire(self, pod):
        code = await pod.terminate()
        self.pods.remove(pod)
        return pod, code
