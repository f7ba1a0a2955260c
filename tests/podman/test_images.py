"""The images: small, nobody's, with nothing in them that is not wanted, and the same each time."""

import io
import json
import re
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

import engine
import images
from chart import CHART, ROOT, container, find, with_nats
from engine import podman

VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
# Each image, and its program.
IMAGES = {
    "localhost/gateway-svc:test": "gateway-svc",
    "localhost/api-svc:test": "api-svc",
    "localhost/gatebus-chat:test": "gatebus-chat",
    "localhost/hello:test": "worker",
}
OWN = [image for image in IMAGES if "hello" not in image]
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module", autouse=True)
def configured():
    engine.configure()


def files(image):
    """Everything in an image's layers, with its content."""
    out = engine.FOLDER / "tmp/saved.tar"
    out.unlink(missing_ok=True)
    podman("save", "--format", "docker-archive", "--output", out, image)
    found = {}
    with tarfile.open(out) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(archive.extractfile(layer).read())) as files_of_layer:
                for member in files_of_layer:
                    content = files_of_layer.extractfile(member).read() if member.isfile() else None
                    found[member.name.strip("/")] = (member, content)
    out.unlink()
    return found


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_smaller_than_20_megabytes(image):
    assert engine.inspect("image", image)["Size"] < 20_000_000


def test_the_page_tells_their_sizes():
    page = (ROOT / "docs/images.md").read_text()
    said = dict(re.findall(r"(?m)^\| `([a-z-]+)` \| ([0-9.]+) MB \|", page))
    assert set(said) == {"gateway-svc", "api-svc", "chat"}
    for name, megabytes in said.items():
        image = f"localhost/{'gatebus-' if name == 'chat' else ''}{name}:test"
        size = engine.inspect("image", image)["Size"] / 1e6
        # a compiler and a linker of another version make it a little smaller or larger
        assert abs(size - float(megabytes)) < 1.0, f"docs/images.md says {megabytes} MB of {name}, which has {size:.1f} MB"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_one_program_as_nobody(image):
    config = engine.inspect("image", image)["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [f"/{IMAGES[image]}"]
    assert not config.get("Cmd") and not config.get("Volumes")
    # nothing of the build's
    assert not [v for v in config.get("Env") or [] if not v.startswith("PATH=")]


@pytest.mark.parametrize("image", OWN)
def test_an_image_says_what_it_is(image):
    labels = engine.inspect("image", image)["Labels"]
    said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert said["title"] == IMAGES[image]
    assert said["version"] == VERSION
    assert said["licenses"] == "MIT OR Apache-2.0"
    assert len(said["description"]) > 20


@pytest.mark.parametrize("image", IMAGES)
def test_there_is_a_program_and_certificates_and_nothing_else(image):
    found = files(image)
    assert {name for name, (member, _) in found.items() if not member.isdir()} == {IMAGES[image], CERTIFICATES}
    assert {name for name, (member, _) in found.items() if member.isdir()} <= {"", "etc", "etc/ssl", "etc/ssl/certs"}
    for name, (member, _) in found.items():
        assert (member.uid, member.gid) == (0, 0), name
        assert member.mode & 0o7222 == 0 or member.isdir(), f"{name} can be written"
        assert member.mtime == 0, name
    assert found[IMAGES[image]][0].mode & 0o7777 == 0o555
    assert found[CERTIFICATES][1] == Path("/", CERTIFICATES).read_bytes()


@pytest.mark.parametrize("image", IMAGES)
def test_the_program_needs_no_library_and_remembers_no_path_of_the_machine(image):
    _, program = files(image)[IMAGES[image]]
    assert program[:5] == b"\x7fELF\x02"
    at, size, many = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
    kinds = [struct.unpack_from("<I", program, at + n * size)[0] for n in range(many)]
    assert 3 not in kinds, "it asks for a loader (PT_INTERP)"
    for path in (str(ROOT), images.sysroot(), str(Path.home() / ".cargo"), "/toolchain/", str(engine.FOLDER)):
        assert path.encode() not in program, path


@pytest.mark.parametrize("image", IMAGES)
def test_there_is_no_shell(image):
    run = subprocess.run(["podman", "run", "--rm", "--network=none", "--entrypoint=/bin/sh", image, "-c", "true"], capture_output=True, text=True)
    assert run.returncode == 127, run


STARTS = {
    "localhost/gateway-svc:test": (["--version"], {}, 0, f"gateway-svc {VERSION}"),
    "localhost/api-svc:test": (["--version"], {}, 0, f"api-svc {VERSION}"),
    "localhost/gatebus-chat:test": ([], {"GATEBUS_CONCURRENCY": "none"}, 2, "GATEBUS_CONCURRENCY"),
    "localhost/hello:test": ([], {"GATEBUS_CONCURRENCY": "none"}, 1, "GATEBUS_CONCURRENCY"),
}


@pytest.mark.parametrize("image", STARTS)
def test_it_starts_with_no_right_at_all(image):
    arguments, env, status, says = STARTS[image]
    limits = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    variables = [f"--env={name}={value}" for name, value in env.items()]
    run = subprocess.run(["podman", "run", "--rm", *limits, *variables, image, *arguments], capture_output=True, text=True)
    assert run.returncode == status, run
    assert says in run.stdout + run.stderr


def test_the_names_are_those_of_the_chart():
    found = with_nats({"api": {"enabled": True, "noAuth": True}})
    page = (ROOT / "docs/images.md").read_text()
    for name in ("gatebus-gateway", "gatebus-api"):
        c = container(find(found, "Deployment", name))
        assert f"--tag registry.example.com/{c['image']} ." in page
        [target] = re.findall(rf"--target (\w+)\s+--tag registry.example.com/{re.escape(c['image'])} \.", page)
        stage = DOCKERFILE.partition(f"FROM base AS {target}\n")[2].partition("\nFROM")[0]
        [exposed] = re.findall(r"(?m)^EXPOSE (.*)$", stage)
        assert set(map(int, exposed.split())) == {p["containerPort"] for p in c["ports"]}
    for target in images.TARGETS:
        assert f"FROM base AS {target}\n" in DOCKERFILE and f"--target {target} " in page


def test_a_second_build_gives_the_same_image(monkeypatch):
    """All steps anew, the compiler's too, for the sources of this repository."""
    first = engine.inspect("image", "localhost/gateway-svc:test")["Id"]
    assert images.build(ROOT, "localhost/gateway-svc:again", "--target", "gateway", "--no-cache") == first
