"""Rollouts that nobody notices: times that fit into each other, and no pod that is replaced for nothing."""

import re
import shutil

import pytest

from chart import API, CHART, EVERYTHING, HELMS, NATS, WORKER, container, every, find, gateway, merged, pod, render, variables, with_nats


def seconds(text):
    assert re.fullmatch("[0-9]+s", text)
    return int(text[:-1])


TIMES = [(10, None, 20, "steady"), (10, None, 20, "surge"), (0, 0, 15, "steady"), (30, 120, 30, "steady"), (5, 600, 60, "surge")]


@pytest.mark.parametrize("delay,spread,margin,profile", TIMES)
def test_the_grace_period_holds_the_whole_drain(delay, spread, margin, profile):
    drain = {"delaySeconds": delay, "spreadSeconds": spread, "marginSeconds": margin}
    d = gateway({"gateway": {"drain": drain, "rollout": {"profile": profile}}})
    spread = {"steady": 60, "surge": 300}[profile] if spread is None else spread
    env = variables(d)
    assert (seconds(env["GATEBUS_DRAIN_DELAY"]), seconds(env["GATEBUS_DRAIN_SPREAD"])) == (delay, spread)
    grace = pod(d)["terminationGracePeriodSeconds"]
    assert grace == delay + spread + margin
    # it ends by itself before it is killed, and its own check of its options holds
    assert delay + spread < seconds(env["GATEBUS_DRAIN_DEADLINE"]) < grace


@pytest.mark.parametrize("wait,margin", [("10s", 20), ("1500ms", 20), ("11s", 21), ("5m", 310), ("2min", 130), ("1h", 3610)])
def test_the_margin_holds_the_last_acknowledgement_and_the_last_request(wait, margin):
    d = gateway({"gateway": {"events": {"ackWait": wait}}})
    assert pod(d)["terminationGracePeriodSeconds"] == 70 + margin
    assert seconds(variables(d)["GATEBUS_DRAIN_DEADLINE"]) == 70 + margin - 5
    d = find(with_nats(merged(API, {"api": {"limits": {"requestTimeout": wait}}})), "Deployment", "gatebus-api")
    assert pod(d)["terminationGracePeriodSeconds"] == 10 + margin
    assert seconds(variables(d)["GATEBUS_API_DRAIN_DEADLINE"]) == 10 + margin - 5


SURGES = [{"maxSurge": "100%"}, {"maxSurge": "150%"}, {"maxSurge": 2}, {"maxSurge": "25%", "minReadySeconds": 310}]


@pytest.mark.parametrize("rollout", SURGES)
def test_surge_with_fewer_new_pods_waits_for_the_whole_drain(rollout):
    spec = gateway({"gateway": {"rollout": {"profile": "surge", **rollout}}})["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == rollout["maxSurge"]


def test_a_longer_grace_period_is_taken_and_used():
    d = gateway({"gateway": {"terminationGracePeriodSeconds": 300}})
    assert pod(d)["terminationGracePeriodSeconds"] == 300
    assert variables(d)["GATEBUS_DRAIN_DEADLINE"] == "295s"


def test_steady_lets_one_quarter_drain_before_the_next():
    d = gateway()
    spec = d["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
    env = variables(d)
    assert spec["minReadySeconds"] == seconds(env["GATEBUS_DRAIN_DELAY"]) + seconds(env["GATEBUS_DRAIN_SPREAD"]) == 70


def test_surge_brings_all_new_pods_before_any_old_one_goes():
    d = find(render("surge"), "Deployment")
    assert d["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": 0}
    assert d["spec"]["minReadySeconds"] == 30
    assert pod(d)["terminationGracePeriodSeconds"] == 330


@pytest.mark.parametrize("spread", [0, 60, 900])
def test_a_rollout_has_time_to_be_done(spread):
    spec = gateway({"gateway": {"drain": {"spreadSeconds": spread}}})["spec"]
    assert spec["progressDeadlineSeconds"] >= max(600, spec["minReadySeconds"] + 300)


def test_rollout_values_are_passed_on():
    rollout = {"maxSurge": 1, "maxUnavailable": "10%", "minReadySeconds": 90, "progressDeadlineSeconds": 2000, "revisionHistoryLimit": 0}
    spec = gateway({"gateway": {"rollout": rollout}})["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": "10%"}
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"], spec["revisionHistoryLimit"]) == (90, 2000, 0)


def test_clients_are_told_when_to_come_back_and_stay_as_long_as_they_like():
    env = variables(gateway())
    assert (env["GATEBUS_RECONNECT_MIN"], env["GATEBUS_RECONNECT_MAX"]) == ("500ms", "8s")
    assert env["GATEBUS_MAX_CONNECTION_AGE"] == "off"
    assert variables(gateway({"gateway": {"limits": {"maxConnectionAge": "6h"}}}))["GATEBUS_MAX_CONNECTION_AGE"] == "6h"


def test_workers_finish_before_they_are_killed():
    d = find(with_nats(merged(WORKER, {"workerDefaults": {"stop": {"timeoutSeconds": 45, "marginSeconds": 15}}})), "Deployment", "gatebus-worker-chat")
    assert variables(d)["GATEBUS_STOP_TIMEOUT"] == "45s"
    assert pod(d)["terminationGracePeriodSeconds"] == 60


def test_the_api_ends_before_it_is_killed():
    d = find(with_nats(API), "Deployment", "gatebus-api")
    assert pod(d)["terminationGracePeriodSeconds"] == 30
    assert variables(d)["GATEBUS_API_DRAIN_DELAY"] == "10s"
    assert variables(d)["GATEBUS_API_DRAIN_DEADLINE"] == "25s"


def test_no_pod_needs_a_shell_to_stop():
    for d in every(render(EVERYTHING), "Deployment"):
        assert "lifecycle" not in container(d)


def templates(chart):
    return {d["metadata"]["name"]: d["spec"]["template"] for d in every(render(EVERYTHING, chart=chart), "Deployment")}


def test_no_pod_is_replaced_when_only_the_charts_version_changes(tmp_path):
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub("(?m)^version: .*$", "version: 99.0.0", text))
    assert "99.0.0" in str(render(EVERYTHING, chart=newer))
    assert templates(CHART) == templates(newer)


def test_pods_are_replaced_when_the_program_changes(tmp_path):
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub('(?m)^appVersion: .*$', 'appVersion: "99.0.0"', text))
    before, after = templates(CHART), templates(newer)
    assert {n for n in before if before[n] != after[n]} == {"gatebus-gateway", "gatebus-api"}


ELSEWHERE = {
    "replicas": {"gateway": {"replicas": 7, "autoscaling": {"enabled": False}}},
    "labels": {"commonLabels": {"a": "b"}},
    "monitoring": {"metrics": {"podMonitor": {"interval": "1m"}}},
    "pdb": {"gateway": {"pdb": {"maxUnavailable": 2}}},
    "ingress": {"gateway": {"ingress": {"hosts": ["other.example.com"]}}},
    "service": {"gateway": {"service": {"annotations": {"a": "b"}}}},
    "another worker": {"workers": {"other": {"image": {"repository": "o", "tag": "1"}}}},
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_no_pod_is_replaced_for_a_change_elsewhere(what):
    before = templates(CHART)
    after = every(render(merged(EVERYTHING, ELSEWHERE[what])), "Deployment")
    after = {d["metadata"]["name"]: d["spec"]["template"] for d in after}
    assert {n: after[n] for n in before} == before


def test_a_changed_option_replaces_the_pods_that_read_it():
    values = merged(EVERYTHING, {"gateway": {"ping": {"interval": "20s"}}})
    after = {d["metadata"]["name"]: d["spec"]["template"] for d in every(render(values), "Deployment")}
    before = templates(CHART)
    assert {n for n in before if before[n] != after[n]} == {"gatebus-gateway"}


def test_scaling_down_is_slow():
    hpa = find(with_nats({"gateway": {"autoscaling": {"enabled": True}}}), "HorizontalPodAutoscaler")
    down = hpa["spec"]["behavior"]["scaleDown"]
    assert down == {"stabilizationWindowSeconds": 1800, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}]}
    metric = hpa["spec"]["metrics"][0]["pods"]
    assert metric == {"metric": {"name": "gatebus_gateway_connections"}, "target": {"type": "AverageValue", "averageValue": "12000"}}


def test_keda_scales_by_the_same_number():
    scaled = find(render("keda"), "ScaledObject", "gatebus-gateway")["spec"]
    [trigger] = scaled["triggers"]
    assert trigger["metadata"]["threshold"] == "12000"
    assert trigger["metadata"]["query"] == 'sum(gatebus_gateway_connections{namespace="shop",app_kubernetes_io_instance="gatebus"})'
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 1800
    assert scaled["fallback"] == {"failureThreshold": 3, "replicas": 10, "behavior": "currentReplicasIfHigher"}


def test_a_prometheus_that_is_away_takes_no_pod_away():
    for o in every(render("keda"), "ScaledObject"):
        assert o["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"
        # of what is always there, nothing is no number
        load = [t["metadata"] for t in o["spec"]["triggers"] if 'status="busy"' not in t["metadata"]["query"]]
        assert load and all(m["ignoreNullValues"] == "false" for m in load)


@pytest.mark.parametrize("version", HELMS)
def test_triggers_may_ask_for_this_releases_series(version):
    found = render("keda", version=version, release="talk", namespace="here")
    triggers = find(found, "ScaledObject", "talk-gatebus-worker-chat")["spec"]["triggers"]
    queries = [t["metadata"]["query"] for t in triggers[1:]]
    assert queries == [
        'sum(rate(gatebus_gateway_events_total{service="chat",namespace="here",app_kubernetes_io_instance="talk"}[1m]))',
        'sum(rate(gatebus_worker_acks_total{status="busy",namespace="here",app_kubernetes_io_instance="talk"}[1m]))']


def test_workers_scale_by_what_they_have_in_hand():
    scaling = {"enabled": True, "batchesPerPod": 200, "cpuUtilization": None}
    values = merged(WORKER, {"workers": {"chat": {"autoscaling": scaling}}})
    spec = find(with_nats(values), "HorizontalPodAutoscaler")["spec"]
    [metric] = spec["metrics"]
    assert metric["pods"] == {"metric": {"name": "gatebus_worker_batches_running"}, "target": {"type": "AverageValue", "averageValue": "200"}}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    keda = {"engine": "keda", "keda": {"prometheusAddress": "http://p:9090"}}
    scaled = find(with_nats(merged(values, {"workers": {"chat": {"autoscaling": keda}}})), "ScaledObject")["spec"]
    [trigger] = scaled["triggers"]
    assert trigger["metadata"]["threshold"] == "200"
    assert trigger["metadata"]["query"] == (
        'sum(gatebus_worker_batches_running{namespace="shop",app_kubernetes_io_instance="gatebus",gatebus_worker="chat"})')


PDBS = {
    "default": ({}, {"maxUnavailable": 1}),
    "none at a time": ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
    "a share stays": ({"maxUnavailable": None, "minAvailable": "50%"}, {"minAvailable": "50%"}),
    "zero stays": ({"maxUnavailable": None, "minAvailable": 0}, {"minAvailable": 0}),
}


@pytest.mark.parametrize("what", PDBS)
def test_disruption_budgets_say_what_the_values_say(what):
    values, expected = PDBS[what]
    spec = find(with_nats({"gateway": {"pdb": values}}), "PodDisruptionBudget")["spec"]
    assert {k: v for k, v in spec.items() if k != "selector"} == {**expected, "unhealthyPodEvictionPolicy": "IfHealthyBudget"}


def test_a_gateway_that_is_not_ready_still_has_clients_so_the_budget_counts_it():
    policies = {o["metadata"]["name"]: o["spec"]["unhealthyPodEvictionPolicy"] for o in every(render(EVERYTHING), "PodDisruptionBudget")}
    assert policies == {"gatebus-gateway": "IfHealthyBudget", "gatebus-api": "AlwaysAllow", "gatebus-worker-chat": "AlwaysAllow"}


def test_network_policies_always_let_dns_and_nats_through():
    urls = "nats://a.bus:4222,tls://b.bus:4333,nats://c.bus"
    values = merged(EVERYTHING, {"nats": {"url": urls}})
    policies = every(render(values), "NetworkPolicy")
    assert [p["metadata"]["name"] for p in policies] == ["gatebus-gateway", "gatebus-api", "gatebus-worker-chat", "gatebus-test"]
    for policy in policies:
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        dns, nats = spec["egress"][:2]
        assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
        if policy["metadata"]["name"] == "gatebus-test":
            continue
        assert nats == {"ports": [{"port": 4222, "protocol": "TCP"}, {"port": 4333, "protocol": "TCP"}]}


def test_dns_may_be_at_other_ports():
    for policy in every(render(merged(EVERYTHING, {"networkPolicy": {"dnsPorts": [5353]}})), "NetworkPolicy"):
        assert policy["spec"]["egress"][0]["ports"] == [{"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"}]


def test_network_policies_let_clients_in_and_nobody_else_to_workers():
    found = render("production")
    gateway_in = find(found, "NetworkPolicy", "gatebus-gateway")["spec"]["ingress"]
    assert gateway_in[0]["ports"] == [{"port": "websocket", "protocol": "TCP"}]
    assert gateway_in[0]["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "envoy-gateway-system"}
    assert gateway_in[1] == {"ports": [{"port": "admin", "protocol": "TCP"}], "from": [{"namespaceSelector": {}}]}
    worker = find(found, "NetworkPolicy", "gatebus-worker-chat")["spec"]
    assert worker["ingress"] == [{"ports": [{"port": "admin", "protocol": "TCP"}], "from": [{"namespaceSelector": {}}]}]
    assert worker["egress"][2] == {"ports": [{"port": 5432, "protocol": "TCP"}]}
    everybody = find(render(EVERYTHING), "NetworkPolicy", "gatebus-gateway")["spec"]["ingress"]
    assert everybody[0] == {"ports": [{"port": "websocket", "protocol": "TCP"}]}


def test_policies_may_name_where_dns_and_nats_are():
    peer = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    values = merged(EVERYTHING, {"networkPolicy": {"natsTo": peer, "dnsTo": peer}})
    policies = every(render(values), "NetworkPolicy")
    assert policies.pop()["spec"]["egress"][0]["to"] == peer
    for policy in policies:
        assert [rule["to"] for rule in policy["spec"]["egress"][:2]] == [peer, peer]
