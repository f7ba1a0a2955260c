"""Pods: who they are, what they may, and that every reference leads somewhere."""

import re

import pytest

from chart import (API, EVERYTHING, EXAMPLES, NATS, WORKER, container, every, find, gateway, merged, pod, render,
                   variables, with_nats)

RENDERED = [*EXAMPLES, "everything"]


def deployments(example):
    return every(objects(example), "Deployment")


def objects(example):
    return render(EVERYTHING if example == "everything" else example)


def pods(example):
    """All of them: those of Deployments, and the one that `helm test` runs."""
    alone = [(o["metadata"]["name"], o["spec"]) for o in every(objects(example), "Pod")]
    return alone + [(d["metadata"]["name"], pod(d)) for d in deployments(example)]


@pytest.mark.parametrize("example", RENDERED)
def test_pod_security_is_restricted(example):
    for name, spec in pods(example):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(host) for host in ("hostNetwork", "hostPID", "hostIPC")), name
        for c in spec["containers"] + spec.get("initContainers", []):
            own = c["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert not own.get("privileged"), name
            assert not any("hostPort" in p for p in c.get("ports", [])), name
        allowed = {"secret", "configMap", "emptyDir", "projected", "persistentVolumeClaim", "csi", "ephemeral", "downwardAPI"}
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= allowed, name


@pytest.mark.parametrize("example", RENDERED)
def test_no_pod_has_a_token_of_the_cluster(example):
    for name, spec in pods(example):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        account = find(objects(example), "ServiceAccount", spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False
    assert not any(o["kind"] in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") for o in objects(example))


@pytest.mark.parametrize("example", RENDERED)
def test_selectors_find_the_pods_of_one_component_and_no_others(example):
    found = objects(example)
    labels = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in deployments(example)}

    def selected(selector):
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    for d in deployments(example):
        name = d["metadata"]["name"]
        assert selected(d["spec"]["selector"]["matchLabels"]) == {name}
        for spread in pod(d)["topologySpreadConstraints"]:
            assert selected(spread["labelSelector"]["matchLabels"]) == {name}
    for o in every(found, "Service"):
        assert selected(o["spec"]["selector"]) == {o["metadata"]["name"]}
    labels |= {o["metadata"]["name"]: o["metadata"]["labels"] for o in every(found, "Pod")}
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for o in every(found, kind):
            assert selected(o["spec"][field]["matchLabels"]) == {o["metadata"]["name"]}
    for o in every(found, "PodMonitor"):
        assert selected(o["spec"]["selector"]["matchLabels"]) == set(labels)
        [endpoint] = o["spec"]["podMetricsEndpoints"]
        for d in deployments(example):
            assert endpoint["port"] in [p["name"] for p in container(d)["ports"]]


@pytest.mark.parametrize("example", RENDERED)
def test_every_reference_leads_somewhere(example):
    found = objects(example)
    for d in deployments(example):
        spec, c = pod(d), container(d)
        ports = {p["name"] for p in c.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in c:
                assert c[probe]["httpGet"]["port"] in ports
        assert {m["name"] for m in c.get("volumeMounts", [])} == {v["name"] for v in spec.get("volumes", [])}
        folders = [m["mountPath"] for m in c.get("volumeMounts", [])]
        assert len(set(folders)) == len(folders)
        for name, value in variables(d).items():
            if name.endswith("_FILE"):
                assert any(value.startswith(folder + "/") for folder in folders), f"{name}={value}"
    for service in every(found, "Service"):
        c = container(find(found, "Deployment", service["metadata"]["name"]))
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= {p["name"] for p in c["ports"]}
    for ingress in every(found, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                to = path["backend"]["service"]
                service = find(found, "Service", to["name"])
                assert to["port"]["name"] in [p["name"] for p in service["spec"]["ports"]]
    for route in every(found, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for to in rule["backendRefs"]:
                service = find(found, "Service", to["name"])
                assert to["port"] in [p["port"] for p in service["spec"]["ports"]]
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for o in every(found, kind):
            find(found, "Deployment", o["spec"]["scaleTargetRef"]["name"])


@pytest.mark.parametrize("example", RENDERED)
def test_secrets_are_files_and_never_arguments_or_config_maps(example):
    for d in deployments(example):
        for c in pod(d)["containers"]:
            assert "args" not in c and "command" not in c
            for entry in c["env"]:
                secret = re.search("PASSWORD|TOKEN|NKEY|CREDS|SEED", entry["name"])
                assert not secret or entry["name"].endswith("_FILE"), entry
                assert "@" not in entry.get("value", "") or entry["name"] not in ("NATS_URL",), entry
        for volume in pod(d).get("volumes", []):
            assert volume["secret"]["defaultMode"] == 0o440
    for o in every(objects(example), "ConfigMap"):
        assert list(o["data"]) in (["gatebus-gateways.json"], ["gatebus-workers.json"])
    # nor does the chart make any: whoever can read values and releases would read them
    assert not every(objects(example), "Secret")


@pytest.mark.parametrize("example", RENDERED)
def test_names_and_labels_fit(example):
    for o in objects(example):
        assert len(o["metadata"]["name"]) <= 63
        assert o["metadata"]["namespace"] == "shop"
        for label in o["metadata"].get("labels", {}).values():
            assert len(label) <= 63


def test_the_longest_names_fit():
    long = render(
        merged(NATS, API, {"workers": {"w" * 20: WORKER["workers"]["chat"]}}), release="r" * 53
    )
    names = [o["metadata"]["name"] for o in long]
    assert max(map(len, names)) == 62
    assert len(set((o["kind"], o["metadata"]["name"]) for o in long)) == len(long)


METHODS = {
    "password": ("NATS_PASSWORD_FILE", "password"),
    "token": ("NATS_TOKEN_FILE", "token"),
    "nkey": ("NATS_NKEY_FILE", "nkey.seed"),
    "creds": ("NATS_CREDS_FILE", "nats.creds"),
}


@pytest.mark.parametrize("method", METHODS)
def test_each_way_to_prove_oneself_is_a_file_of_a_secret(method):
    variable, key = METHODS[method]
    auth = {"method": method, "existingSecret": "s3"}
    if method == "password":
        auth["user"] = "ann"
    for d in every(with_nats(merged(API, WORKER, {"nats": {"auth": auth}})), "Deployment"):
        assert variables(d)[variable] == "/etc/gatebus/nats-auth/secret"
        [volume] = [v for v in pod(d)["volumes"] if v["name"] == "nats-auth"]
        assert volume["secret"]["secretName"] == "s3"
        assert volume["secret"]["items"] == [{"key": key, "path": "secret"}]
        others = {v for v, _ in METHODS.values()} - {variable}
        assert not others & set(variables(d))
        assert variables(d).get("NATS_USER") == auth.get("user")


def test_a_client_certificate_is_a_secret_of_the_usual_type():
    auth = {"method": "tls", "existingSecret": "own"}
    for d in every(with_nats(merged(API, WORKER, {"nats": {"auth": auth}})), "Deployment"):
        assert variables(d)["NATS_CERT_FILE"] == "/etc/gatebus/nats-auth/tls.crt"
        assert variables(d)["NATS_KEY_FILE"] == "/etc/gatebus/nats-auth/tls.key"
        [volume] = [v for v in pod(d)["volumes"] if v["name"] == "nats-auth"]
        assert volume["secret"]["secretName"] == "own"
        assert volume["secret"]["items"] == [{"key": k, "path": k} for k in ("tls.crt", "tls.key")]
        [at] = [m for m in container(d)["volumeMounts"] if m["name"] == "nats-auth"]
        assert at == {"name": "nats-auth", "mountPath": "/etc/gatebus/nats-auth", "readOnly": True}
        assert not {v for v, _ in METHODS.values()} & set(variables(d))


def test_the_authority_of_nats_is_a_file():
    d = gateway({"nats": {"url": "tls://n:4222", "ca": {"existingSecret": "authority", "key": "root.pem"}}})
    assert variables(d)["NATS_CA_FILE"] == "/etc/gatebus/nats-ca/ca.crt"
    [volume] = pod(d)["volumes"]
    assert volume["secret"]["items"] == [{"key": "root.pem", "path": "ca.crt"}]


def test_each_role_has_its_own_user():
    users = {d["metadata"]["name"]: (variables(d)["NATS_USER"], pod(d)["volumes"][0]["secret"]["items"][0]["key"])
             for d in deployments("production")}
    assert users == {"gatebus-gateway": ("gateway", "gateway"), "gatebus-api": ("api", "api"),
                     "gatebus-worker-chat": ("worker", "worker")}


def test_a_worker_may_prove_itself_in_another_way():
    found = objects("creds")
    audit = variables(find(found, "Deployment", "gatebus-worker-audit"))
    assert "NATS_NKEY_FILE" in audit and "NATS_CREDS_FILE" not in audit
    assert "NATS_CREDS_FILE" in variables(find(found, "Deployment", "gatebus-worker-chat"))


def test_a_changed_file_of_tokens_reaches_the_api():
    api = find(with_nats(API), "Deployment", "gatebus-api")
    mounts = container(api)["volumeMounts"]
    assert not any("subPath" in m for m in mounts)
    assert variables(api)["GATEBUS_API_TOKENS_FILE"] == "/etc/gatebus/tokens/tokens"


def test_workers_get_the_defaults_and_what_differs():
    values = merged(NATS, {
        "workerDefaults": {"image": {"repository": "acme/all", "tag": "1"}, "replicas": 4, "env": {"A": "a", "B": "b"},
                           "pod": {"labels": {"team": "x"}, "nodeSelector": {"disk": "ssd"}}},
        "workers": {"one": {}, "two": {"replicas": 0, "image": {"tag": "2"}, "env": {"B": "two", "C": 1000000},
                                       "pdb": {"enabled": False}, "pod": {"labels": {"team": "y"}}}, "three": None},
    })
    found = render(values)
    one, two = (find(found, "Deployment", f"gatebus-worker-{n}") for n in ("one", "two"))
    assert [d["metadata"]["name"] for d in every(found, "Deployment")][-3:].count("gatebus-worker-three") == 0
    assert (one["spec"]["replicas"], two["spec"]["replicas"]) == (4, 0)
    assert (container(one)["image"], container(two)["image"]) == ("acme/all:1", "acme/all:2")
    assert variables(one)["B"] == "b" and variables(two)["B"] == "two" and variables(two)["A"] == "a"
    assert variables(two)["C"] == "1000000"
    assert two["spec"]["template"]["metadata"]["labels"]["team"] == "y"
    assert pod(two)["nodeSelector"] == {"disk": "ssd"}
    assert [o["metadata"]["name"] for o in every(found, "PodDisruptionBudget")] == ["gatebus-gateway", "gatebus-worker-one"]


def test_a_variable_may_come_from_elsewhere():
    source = {"secretKeyRef": {"name": "db", "key": "url"}}
    found = with_nats(merged(WORKER, {"workers": {"chat": {"env": {"DATABASE_URL": source, "RATIO": 0.5, "ON": True}}}}))
    entries = {e["name"]: e for e in container(find(found, "Deployment", "gatebus-worker-chat"))["env"]}
    assert entries["DATABASE_URL"] == {"name": "DATABASE_URL", "valueFrom": source}
    assert (entries["RATIO"]["value"], entries["ON"]["value"]) == ("0.5", "true")


def test_guests_run_in_the_same_security_context():
    guest = {"name": "guest", "image": "guest:1"}
    own = {"name": "own", "image": "own:1", "securityContext": {"runAsUser": 7}}
    spec = pod(gateway({"pod": {"initContainers": [guest], "extraContainers": [own]}}))
    assert spec["initContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["containers"][1]["securityContext"]["runAsUser"] == 7
    assert spec["containers"][1]["securityContext"]["allowPrivilegeEscalation"] is False


def test_what_a_pod_may_have_is_passed_on():
    extra = {"nodeSelector": {"a": "b"}, "affinity": {"nodeAffinity": {}}, "tolerations": [{"operator": "Exists"}],
             "priorityClassName": "high", "runtimeClassName": "gvisor", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
             "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}
    spec = pod(gateway({"gateway": {"pod": extra}, "image": {"pullSecrets": [{"name": "r"}]}}))
    for field, value in extra.items():
        assert spec[field] == value
    assert spec["imagePullSecrets"] == [{"name": "r"}]


IMAGES = {
    "gatebus/gateway-svc:0.1.0": {},
    "r.example/gatebus/gateway-svc:9": {"image": {"registry": "r.example", "tag": "9"}},
    "o.example/gw:7": {"image": {"registry": "r.example"}, "gateway": {"image": {"registry": "o.example", "repository": "gw", "tag": "7"}}},
    "gatebus/gateway-svc@sha256:" + "a" * 64: {"gateway": {"image": {"digest": "sha256:" + "a" * 64}}},
}


@pytest.mark.parametrize("image", IMAGES)
def test_images_are_named_by_registry_repository_and_tag_or_digest(image):
    assert container(gateway(IMAGES[image]))["image"] == image


def test_a_listener_is_a_url_a_port_and_a_port_of_the_service():
    found = objects("tls")
    d, service = find(found, "Deployment", "gatebus-gateway"), find(found, "Service", "gatebus-gateway")
    devices, websocket = variables(d)["GATEBUS_LISTEN"].split(",")
    assert devices == ("text://0.0.0.0:7273?service=devices&routing=sticky&cert=/etc/gatebus/tls-devices/tls.crt"
                       "&key=/etc/gatebus/tls-devices/tls.key&proxy=required")
    assert websocket.startswith("websocket://0.0.0.0:7272?service=chat&cert=/etc/gatebus/tls-websocket/tls.crt")
    assert [(p["name"], p["port"], p["appProtocol"]) for p in service["spec"]["ports"]] == [
        ("devices", 7273, "tcp"), ("websocket", 443, "https")]
    assert service["spec"]["externalTrafficPolicy"] == "Local"


def test_ipv6_is_a_value():
    d = gateway({"gateway": {"bindAddress": "[::]"}})
    assert variables(d)["GATEBUS_ADMIN"] == "[::]:7280"
    assert variables(d)["GATEBUS_LISTEN"].startswith("websocket://[::]:7272?")


def test_large_numbers_stay_numbers():
    d = gateway({"gateway": {"limits": {"maxConnections": 1000000}}})
    assert variables(d)["GATEBUS_MAX_CONNECTIONS"] == "1000000"


def test_a_worker_has_an_admin_port_like_the_others():
    d = find(with_nats(WORKER), "Deployment", "gatebus-worker-chat")
    assert variables(d)["GATEBUS_ADMIN"] == "0.0.0.0:7283"
    assert container(d)["ports"] == [{"name": "admin", "containerPort": 7283, "protocol": "TCP"}]
    other = merged(WORKER, {"workerDefaults": {"bindAddress": "[::]", "adminPort": 9000}})
    assert variables(find(with_nats(other), "Deployment", "gatebus-worker-chat"))["GATEBUS_ADMIN"] == "[::]:9000"


def test_a_worker_without_an_admin_port_is_not_probed_there():
    exec_probe = {"exec": {"command": ["/chat", "check"]}, "httpGet": None}
    other = merged(WORKER, {"workers": {"chat": {"adminPort": None, "probes": {"liveness": exec_probe}}}})
    c = container(find(with_nats(other), "Deployment", "gatebus-worker-chat"))
    assert "GATEBUS_ADMIN" not in [e["name"] for e in c["env"]]
    assert "ports" not in c and "startupProbe" not in c and "readinessProbe" not in c
    assert c["livenessProbe"]["exec"] == {"command": ["/chat", "check"]}


def test_liveness_never_depends_on_nats():
    for d in every(with_nats(merged(API, WORKER)), "Deployment"):
        c = container(d)
        assert c["livenessProbe"]["httpGet"]["path"] == c["startupProbe"]["httpGet"]["path"] == "/livez"
        assert c["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_restart_of_nats_takes_nobody_out_of_the_load_balancer():
    for d in every(with_nats(API), "Deployment"):
        c = container(d)
        probe = c["readinessProbe"]
        bears = probe["periodSeconds"] * probe["failureThreshold"]
        if d["metadata"]["name"] == "gatebus-gateway":
            # Its patience is its own, so that whoever else asks /readyz has it too; and a pod that
            # is full gets nobody more at once.
            assert {"name": "GATEBUS_UNREADY_AFTER", "value": "30s"} in c["env"]
            assert bears <= 10
        else:
            assert bears >= 30


def test_the_common_labels_reach_every_object_and_no_pod():
    values = merged(EVERYTHING, {"commonLabels": {"team": "x"}, "commonAnnotations": {"note": "y"}})
    for o in render(values):
        assert o["metadata"]["labels"]["team"] == "x"
        assert o["metadata"]["annotations"]["note"] == "y"
        if o["kind"] == "Deployment":
            assert "team" not in o["spec"]["template"]["metadata"]["labels"]
            assert "team" not in o["spec"]["selector"]["matchLabels"]
