"""The images, built with the very Dockerfiles that ship.

No base image can be pulled here, so `RUST_IMAGE` is one of this machine: an empty root in which its
compiler and its system's folders are mounted while a step runs. `python images.py` builds them all.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import engine
from engine import FOLDER, ROOT, podman

RUST = "localhost/rust"
# What the builds mount: the system's programs and libraries, and who signs certificates.
SYSTEM = ["/usr", "/etc/alternatives", "/etc/ssl"]
TARGETS = {"gateway": "gateway-svc", "api": "api-svc", "chat": "gatebus-chat"}
# The worker of the README's first page, which the images' page packs.
HELLO = "hello"


def sysroot():
    return subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def make_rust():
    """The image with the compiler: folders to mount upon."""
    root = FOLDER / "tmp/rust"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("usr", "etc/alternatives", "etc/ssl", "toolchain", "tmp"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)
    recipe = FOLDER / "tmp/rust.Dockerfile"
    recipe.write_text("FROM scratch\nCOPY . /\nENV PATH=/toolchain/bin:/usr/local/bin:/usr/bin:/bin\n")
    podman("build", "--quiet", "--timestamp", "0", "--file", recipe, "--tag", RUST, root)


def build(context, tag, *options):
    """Builds one image with the compiler of this machine, and says which one it is."""
    mounts = [f"--volume={folder}:{folder}:ro" for folder in SYSTEM if os.path.isdir(folder)]
    started = time.monotonic()
    command = ["podman", "build", "--isolation", "chroot", "--network", "host", "--timestamp", "0", "--pull-never",
               "--build-arg", f"RUST_IMAGE={RUST}", f"--volume={sysroot()}:/toolchain:ro", *mounts, "--tag", tag, *options, str(context)]
    log = FOLDER / f"tmp/build-{tag.rpartition('/')[2].replace(':', '-')}.log"
    with log.open("w") as out:
        if subprocess.run(command, stdout=out, stderr=out).returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-8000:]}")
    print(f"{tag}: built in {time.monotonic() - started:.0f} s", flush=True)
    return engine.inspect("image", tag)["Id"]


def build_gatebus(*options, mark="test"):
    return {target: build(ROOT, f"localhost/{name}:{mark}", "--target", target, *options) for target, name in TARGETS.items()}


def blocks(page, language):
    """The code blocks of a page, in a language."""
    return re.findall(rf"(?m)^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.S)


def hello_project(beside):
    """A worker's project beside the checkout, as the README and the images' page tell to make it."""
    (beside / "gatebus").symlink_to(ROOT)
    folder = beside / HELLO
    (folder / "src").mkdir(parents=True)
    [dependencies] = blocks("README.md", "toml")[:1]
    [code] = [b for b in blocks("README.md", "rust") if 'Worker::from_env("echo")' in b]
    [dockerfile] = blocks("docs/images.md", "dockerfile")
    texts = {
        "Cargo.toml": f'[package]\nname = "{HELLO}"\nversion = "0.1.0"\nedition = "2024"\n\n{dependencies}',
        "src/main.rs": code,
        "Dockerfile": dockerfile,
        ".dockerignore": "target\n",
        # so that the versions are those that are tested here
        "Cargo.lock": (ROOT / "Cargo.lock").read_text(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    # the lock file that `cargo run` leaves
    subprocess.run(["cargo", "metadata", "--quiet", "--format-version=1"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for name in texts:
        os.utime(folder / name, (0, 0))
    return folder


def build_hello():
    # not below the target folder, where cargo would take it for a member of this workspace
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="gatebus-") as beside:
        return build(hello_project(Path(beside)), f"localhost/{HELLO}:test", f"--build-context=gatebus={ROOT}")


def build_all():
    engine.configure()
    make_rust()
    build_gatebus()
    build_hello()


if __name__ == "__main__":
    build_all()
