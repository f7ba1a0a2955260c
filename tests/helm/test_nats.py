"""Users and permissions of NATS: one set, in two shapes."""

import os
import re
import subprocess

import yaml

from chart import CHART, tool

CONF = CHART / "examples/nats-server.conf"
VALUES = CHART / "examples/nats-values.yaml"


def read(text):
    """Reads nats-server's own syntax, as far as the file uses it."""
    tokens = re.findall(r'#[^\n]*|"[^"]*"|[{}\[\]:,]|[^\s{}\[\]:,]+', text)
    tokens = [t for t in tokens if not t.startswith("#")]

    def value():
        token = tokens.pop(0)
        if token == "{":
            return fields()
        if token == "[":
            items = []
            while tokens[0] != "]":
                if tokens[0] == ",":
                    tokens.pop(0)
                    continue
                items.append(value())
            tokens.pop(0)
            return items
        return token.strip('"')

    def fields():
        found = {}
        while tokens and tokens[0] != "}":
            if tokens[0] == ",":
                tokens.pop(0)
                continue
            name = tokens.pop(0).strip('"')
            if tokens[0] == ":":
                tokens.pop(0)
            found[name] = value()
        if tokens:
            tokens.pop(0)
        return found

    return fields()


def plain_users():
    return read(CONF.read_text())["accounts"]["GATEBUS"]["users"]


def chart_values():
    return yaml.safe_load(VALUES.read_text())


def test_the_plain_configuration_is_one():
    passwords = {f"{u['user'].upper()}_PASSWORD": "x" for u in plain_users()}
    run = subprocess.run([tool("NATS_SERVER_BIN"), "-t", "-c", CONF], env={**os.environ, **passwords}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_official_charts_values_have_the_same_users():
    users = chart_values()["config"]["merge"]["accounts"]["GATEBUS"]["users"]
    for user in users:
        user["password"] = user["password"].strip("<> ")
    assert users == plain_users()
    assert [u["user"] for u in users] == ["gateway", "worker", "api", "operator"]


def test_every_password_is_a_variable_from_a_secret():
    values = chart_values()
    accounts = values["config"]["merge"]["accounts"].values()
    for user in (u for account in accounts for u in account["users"]):
        name = re.fullmatch(r"<<\s*\$(\w+)\s*>>", user["password"])[1]
        assert values["container"]["env"][name]["valueFrom"]["secretKeyRef"] == {"name": "nats-auth", "key": user["user"]}


def test_no_role_may_do_everything():
    for user in plain_users():
        for direction in user["permissions"].values():
            assert ">" not in direction["allow"] and "*" not in direction["allow"]
            assert list(direction) == ["allow"]
