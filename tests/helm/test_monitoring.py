"""Alerts and dashboards: their queries are PromQL, and ask for series that the programs really give."""

import json
import re

import pytest
import yaml

from chart import CHART, EVERYTHING, NATS, ROOT, WORKER, find, every, merged, render, with_nats
from test_examples import ask_schemas

BOARDS = ["gateways", "workers"]


def board(name):
    return json.loads((CHART / "dashboards" / f"{name}.json").read_text())


def alerts(values=EVERYTHING):
    return find(render(values), "PrometheusRule")["spec"]["groups"][0]["rules"]


def queries():
    """All queries, with Grafana's variables replaced as Grafana would."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for name in BOARDS:
        for panel in board(name)["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"].replace("$__rate_interval", "2m").replace("$namespace", "a").replace("$release", "b").replace("$service", "c")
    for o in every(render("keda"), "ScaledObject"):
        for trigger in o["spec"]["triggers"]:
            yield o["metadata"]["name"], trigger["metadata"]["query"]


def test_every_query_is_promql():
    all_queries = list(queries())
    assert len(all_queries) > 45
    answers = ask_schemas(queries=[q for _, q in all_queries])["queries"]
    assert not [(where, says) for (where, _), says in zip(all_queries, answers) if says]
    assert ask_schemas(queries=["sum(rate(a[5m])"])["queries"][0]


def known_metrics():
    """The names of series, from the sources of the programs."""
    known = {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"}
    gateway = (ROOT / "gateway-svc/src/metrics.rs").read_text()
    for kind, name, unit in re.findall(r'\w+: (Counters|Gauges), "(\w+)", (None|Some)', gateway):
        suffix = ("_bytes" if unit == "Some" else "") + ("_total" if kind == "Counters" else "")
        known.add(f"gatebus_gateway_{name}{suffix}")
    # of certificates, which are counted by listener
    known |= {"gatebus_gateway_certificate_expiry_timestamp_seconds", "gatebus_gateway_certificate_reloads_total"}
    assert 'certificate_expiry_timestamp' in gateway or 'certificate_expiry_timestamp' in (ROOT / "README.md").read_text()
    worker = (ROOT / "worker-sdk/src/metrics.rs").read_text()
    endings = {"gauge": [""], "count": ["_total"], "counts": ["_total"], "times": ["_bucket", "_sum", "_count"]}
    for kind, name in re.findall(r'page\.(gauge|counts?|times)\(\s*"(\w+)"', worker):
        known |= {f"gatebus_worker_{name}{end}" for end in endings[kind]}
    known |= {"gatebus_api_requests_total", "gatebus_api_calls_total", "gatebus_api_requests_running", "gatebus_api_nats_up"}
    api = (ROOT / "api-svc/src/metrics.rs").read_text()
    assert all(f'"{n}"' in api for n in ("requests", "calls", "requests_running", "nats_up"))
    return known


def test_every_query_asks_for_series_that_there_are():
    known = known_metrics()
    assert len(known) > 30
    for where, query in queries():
        names = set(re.findall(r"\b(?:gatebus|container)_\w+", re.sub(r"\{[^}]*\}", "", query)))
        assert names and names <= known, f"{where}: {names - known}"


def metrics_of_services():
    """Those that a gateway has for each service, from its source."""
    source = (ROOT / "gateway-svc/src/metrics.rs").read_text()
    made = source.partition("fn service(")[2].partition("\n    }\n")[0]
    fields = set(re.findall(r"\bf\.(\w+)", made))
    names = dict(re.findall(r'(\w+): (?:Counters|Gauges), "(\w+)"', source))
    return {f"gatebus_gateway_{names[field]}" for field in fields}


def test_who_asks_for_a_service_asks_for_series_that_have_one():
    own = metrics_of_services()
    assert len(own) >= 8
    asked = 0
    for where, query in queries():
        for name, selector in re.findall(r"(gatebus_gateway_\w+)\{([^}]*)\}", query):
            has_service = name.removesuffix("_total") in own
            if "service" in selector or re.search(r"by \([^)]*service", query):
                asked += 1
                assert has_service, f"{where}: {name}"
    assert asked > 10


def test_alerts_look_at_this_release_only():
    for rule in alerts():
        for selector in re.findall(r"\{([^}]*)\}", rule["expr"]):
            assert 'namespace="shop",app_kubernetes_io_instance="gatebus"' in selector
    values = merged(EVERYTHING, {"metrics": {"selector": 'job="gw"'}})
    assert all('{job="gw"' in rule["expr"] for rule in alerts(values))


def test_every_alert_says_how_bad_it_is_and_what_to_read():
    page = (ROOT / "docs/kubernetes.md").read_text()
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) == 16
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert f"| `{rule['alert']}` |" in page, rule["alert"]
    assert set(re.findall(r"\| `(Gatebus\w+)` \|", page)) == set(names)


def test_alerts_can_be_left_out_labelled_and_added():
    rule = {"metrics": {"prometheusRule": {"disabled": ["GatebusNoWorker"], "alertLabels": {"team": "rt"},
                                           "rules": [{"alert": "Mine", "expr": "vector(1)"}]}}}
    found = alerts(merged(EVERYTHING, rule))
    names = [r["alert"] for r in found]
    assert "GatebusNoWorker" not in names and names[-1] == "Mine"
    assert all(r["labels"]["team"] == "rt" for r in found[:-1])


def test_alerts_are_about_what_runs():
    values = merged(NATS, {"metrics": {"prometheusRule": {"enabled": True}}})
    assert not any("Api" in rule["alert"] for rule in alerts(values))
    of_workers = {"GatebusWorkerNatsLost", "GatebusWorkersFull", "GatebusHandlersPanic"}
    assert not of_workers & {rule["alert"] for rule in alerts(values)}
    silent = merged(values, WORKER, {"workerDefaults": {"adminPort": None}})
    assert not of_workers & {rule["alert"] for rule in alerts(silent)}
    assert of_workers <= {rule["alert"] for rule in alerts(merged(values, WORKER))}


def test_the_full_alert_knows_the_limit():
    values = merged(EVERYTHING, {"gateway": {"limits": {"maxConnections": 50000}}})
    [rule] = [r for r in alerts(values) if r["alert"] == "GatebusGatewayFull"]
    assert rule["expr"].endswith("> 45000")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_whole(name):
    b = board(name)
    ids = [p["id"] for p in b["panels"]]
    assert len(set(ids)) == len(ids) >= 12
    taken = set()
    for p in b["panels"]:
        grid = p["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & taken and grid["x"] + grid["w"] <= 24, p["title"]
        taken |= cells
        assert p["description"] and p["title"]
        assert p["datasource"]["uid"] == "${datasource}"
    own = {"workers": ["service"]}.get(name, [])
    assert [v["name"] for v in b["templating"]["list"]] == ["datasource", "namespace", "release", *own]
    assert b["uid"] == f"gatebus-{name}"


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_looks_at_the_chosen_release_only(name):
    for panel in board(name)["panels"]:
        for target in panel["targets"]:
            # what the kubelet says of a container has no release: it counts where its pod is one of the release's
            own = [s for s in re.findall(r"\bgatebus_\w+\{([^}]*)\}", target["expr"])]
            assert own and all('app_kubernetes_io_instance=~"$release"' in s for s in own), panel["title"]
            if "container_" in target["expr"]:
                assert " and on (namespace, pod) gatebus_" in target["expr"]


def test_the_workers_dashboard_needs_no_gateway_to_choose_from():
    for variable in board("workers")["templating"]["list"][1:]:
        query = variable["query"]["query"]
        names = re.search(r'__name__=~"([^"]*)"', query)[1].split("|")
        assert any(n.startswith("gatebus_worker_") for n in names) and set(names) <= known_metrics(), query


def test_dashboards_come_as_config_maps_that_grafana_finds():
    maps = every(render(EVERYTHING), "ConfigMap")
    assert len(maps) == 2
    for o, name in zip(maps, BOARDS):
        assert o["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(o["data"][f"gatebus-{name}.json"]) == board(name)


def test_the_pod_monitor_gives_the_labels_that_queries_use():
    spec = find(render(EVERYTHING), "PodMonitor")["spec"]
    assert {"app.kubernetes.io/instance", "app.kubernetes.io/component", "gatebus/worker"} <= set(spec["podTargetLabels"])
    assert spec["podMetricsEndpoints"] == [{"port": "admin", "path": "/metrics", "interval": "30s"}]
    assert find(with_nats({"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "p"}}}}), "PodMonitor")["metadata"]["labels"]["release"] == "p"


def adapter_rules():
    """What docs/kubernetes.md gives to prometheus-adapter."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    [block] = [b for b in re.findall(r"(?s)```yaml\n(.*?)\n *```", page) if "seriesQuery" in b]
    return yaml.safe_load(block)["rules"]["custom"]


def test_the_adapters_rule_gives_every_metric_that_an_hpa_asks_for():
    scaling = {"autoscaling": {"enabled": True, "batchesPerPod": 100}}
    found = [*render("production"), *with_nats(merged(WORKER, {"workers": {"chat": scaling}}))]
    asked = {m["pods"]["metric"]["name"] for o in every(found, "HorizontalPodAutoscaler") for m in o["spec"]["metrics"] if m["type"] == "Pods"}
    assert asked == {"gatebus_gateway_connections", "gatebus_worker_batches_running"}
    [rule] = adapter_rules()
    [names] = re.findall(r'__name__=~"([^"]*)"', rule["seriesQuery"])
    assert set(names.split("|")) == asked <= known_metrics()
    query = rule["metricsQuery"]
    # a pod has a series for each shard and service
    assert query.startswith("sum by (<<.GroupBy>>) (")
    filled = query.replace("<<.GroupBy>>", "pod").replace("<<.Series>>", "a").replace("<<.LabelMatchers>>", 'namespace="n",pod=~"p|q"')
    assert ask_schemas(queries=[filled, rule["seriesQuery"]])["queries"] == [None, None]
