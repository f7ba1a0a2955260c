"""Podman, with a store of its own below the target folder, so that nothing of this machine's is touched.

`python engine.py probe` says whether containers can run here at all: it ends with 3 and a reason if not.
`python engine.py apart COMMAND…` runs a command in namespaces of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Store, networks and caches. `cargo xtask test` puts it below the target folder.
FOLDER = Path(os.environ.get("PODMAN_FOLDER") or ROOT / "target/podman")
# Debian has crun and runc; crun refuses machines whose cgroups are half of version 1.
RUNTIMES = ["runc", "crun"]
NEEDED = ["podman", "unshare", "ip", "conmon", "iptables"]


class Unusable(Exception):
    """Podman cannot run here; the text says why."""


def configure():
    """Writes podman's configuration, and names it to podman."""
    runtime = next((r for r in RUNTIMES if shutil.which(r)), None)
    if runtime is None:
        raise Unusable(f"neither of {' and '.join(RUNTIMES)} is in PATH")
    for name in ("store", "run", "networks", "tmp"):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
    containers = FOLDER / "containers.conf"
    containers.write_text(f"""\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "none"
image_copy_tmp_dir = "{FOLDER}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{FOLDER}/networks"
""")
    # An overlay does not lie upon another one: a machine that is a container itself gets plain copies.
    kind = subprocess.run(["stat", "--file-system", "--format=%T", FOLDER], capture_output=True, text=True).stdout
    driver = "vfs" if "overlay" in kind else "overlay"
    storage = FOLDER / "storage.conf"
    storage.write_text(f"""\
[storage]
driver = "{driver}"
graphroot = "{FOLDER}/store"
runroot = "{FOLDER}/run"
""")
    os.environ["CONTAINERS_CONF"] = str(containers)
    os.environ["CONTAINERS_STORAGE_CONF"] = str(storage)
    # Its caches for builds are there too.
    os.environ["TMPDIR"] = str(FOLDER / "tmp")


def podman(*args, timeout=120, **options):
    """What a command of podman says; anything but success is an error with what it said."""
    run = subprocess.run(["podman", *map(str, args)], capture_output=True, text=True, timeout=timeout, **options)
    if run.returncode:
        raise AssertionError(f"podman {' '.join(map(str, args[:4]))} …: {run.stderr or run.stdout}")
    return run.stdout


def inspect(kind, name):
    return json.loads(podman(kind, "inspect", name))[0]


def image_of(program, tag, name=None):
    """An image FROM scratch with this one static program."""
    context = FOLDER / "tmp" / f"image-{tag}"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    name = name or Path(program).name
    shutil.copy2(program, context / name)
    (context / "Dockerfile").write_text(f'FROM scratch\nCOPY {name} /{name}\nENTRYPOINT ["/{name}"]\n')
    podman("build", "--quiet", "--timestamp", "0", "--tag", f"localhost/{tag}", context)
    shutil.rmtree(context)
    return f"localhost/{tag}"


def apart(*command):
    """A command that runs this one in namespaces of its own: no network but what it makes, and every process in them
    ends with the first."""
    setup = (
        'ip link set lo up; mkdir -p /run/netns; mount -t tmpfs run "$0"; mount -t tmpfs netns /run/netns; exec "$@"'
    )
    spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *spaces, "sh", "-ec", setup, str(FOLDER / "run"), *map(str, command)]


def run_apart(*command):
    configure()
    os.execvp("unshare", apart(*command))


def probe():
    """Finds out whether a container can run here, by running one."""
    if os.geteuid() != 0:
        raise Unusable("containers in networks of their own want root")
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        raise Unusable(f"not in PATH: {', '.join(missing)}")
    configure()
    program = os.environ["NATS_SERVER_BIN"]
    run = subprocess.run(apart(sys.executable, __file__, "run-one", program), capture_output=True, text=True, timeout=120)
    if run.returncode:
        last = (run.stderr.strip() or run.stdout.strip() or "nothing was said").splitlines()[-1]
        raise Unusable(f"a container does not run: {last}")


def run_one(program):
    configure()
    image = image_of(program, "probe", "probe")
    podman("run", "--rm", "--read-only", image, "--version")


if __name__ == "__main__":
    try:
        {"probe": probe, "run-one": run_one, "apart": run_apart}[sys.argv[1]](*sys.argv[2:])
    except Unusable as why:
        print(why)
        sys.exit(3)
