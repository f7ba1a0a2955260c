"""docs/kubernetes.md: its commands, as far as they can be looked at without a cluster."""

import re
import shlex
import subprocess

import yaml

from chart import CHART, ROOT, container, every, find, render

PAGE = (ROOT / "docs/kubernetes.md").read_text()
SCRIPT = re.search(r"(?s)## From an empty cluster to the chat.*?```sh\n(.*?)```", PAGE)[1]
BEGIN, END = "<<VALUES\n", "\nVALUES\n"


def values():
    text = SCRIPT.partition(BEGIN)[2].partition(END)[0]
    return yaml.safe_load(text.replace("$REGISTRY", "registry.example.com"))


def commands():
    before, rest = SCRIPT.split(BEGIN)
    return (before.rstrip() + "\n" + rest.partition(END)[2]).strip().split("\n")


def test_the_way_to_the_chat_is_ten_commands_that_a_shell_can_read():
    assert len(commands()) == 10
    run = subprocess.run(["bash", "-n"], input=SCRIPT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_its_values_run_the_images_that_it_builds():
    built = re.search(r"for i in (.*?); do", SCRIPT)[1].split()
    tags = {f"registry.example.com/gatebus/{pair.partition(':')[2]}:0.1.0" for pair in built}
    found = render(values(), release="gatebus", namespace="chat")
    assert {container(d)["image"] for d in every(found, "Deployment")} == tags
    stages = re.findall(r"(?m)^FROM base AS (\w+)", (ROOT / "Dockerfile").read_text())
    assert {pair.partition(":")[0] for pair in built} <= set(stages)


def test_its_last_commands_reach_the_gateway_and_bring_the_page():
    found = render(values(), release="gatebus", namespace="chat")
    forward, page = (shlex.split(command) for command in commands()[-2:])
    target, ports = forward[4:6]
    service = find(found, "Service", target.removeprefix("service/"))
    local, remote = ports.split(":")
    assert int(remote) in [p["port"] for p in service["spec"]["ports"]]
    # where the page looks for the gateway, if it is told of none
    assert f"${{location.hostname}}:{local}`" in (ROOT / "examples/chat/page/chat.js").read_text()
    [setting] = [word for word in page if "=" in word]
    source = (ROOT / "examples/chat/src/page.rs").read_text()
    assert f'"{setting.partition("=")[0]}"' in source
    assert page[page.index("--publish") + 1].partition(":")[2] == setting.rpartition(":")[2]
    assert f"<http://127.0.0.1:{setting.rpartition(':')[2]}>" in PAGE


def test_the_readme_tells_every_way_to_prove_oneself_to_nats():
    schema = (CHART / "values.schema.json").read_text()
    [methods] = re.findall(r'(?s)"method": \{\s*"enum": \[(.*?)\]', schema)
    section = (CHART / "README.md").read_text().partition("\n## NATS\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \|", section)
    assert set(re.findall(r'"(\w+)"', methods)) - {"none"} == set(rows)
