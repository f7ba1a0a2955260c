//! A worker's admin port: whether it lives, whether it takes events, and what it did.

use gatebus_tests::{Admin, Client, Gateway, Journal, Nats, Worker, eventually};

/// The figure of a metric of workers.
async fn figure(admin: Admin, name: &str, labels: &str) -> f64 {
    let name = format!("gatebus_worker_{name}");
    admin.metric(&name, labels).await
}

/// Waits until a figure is exactly this; it must not be more.
async fn wait_figure(admin: Admin, name: &str, labels: &str, exactly: f64) {
    eventually(format!("{name}{{{labels}}} = {exactly}"), || async {
        let is = figure(admin, name, labels).await;
        assert!(is <= exactly, "{name}{{{labels}}} is {is}, not {exactly}");
        (is >= exactly).then_some(())
    })
    .await;
}

/// Proves that the figures are those of what was really handled, of every kind and outcome.
#[tokio::test]
async fn a_workers_metrics_count_what_it_handled() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker").admin();
    let worker = worker.concurrency(7).start().await;
    let admin = worker.admin().await;
    let answer = admin.get("/metrics").await;
    let head = answer.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("gatebus_worker_"), "{line}");
        assert!(line.contains("service=\"test\""), "{line}");
    }

    let mut client = Client::connect(&gateway).await;
    for n in 0..5 {
        client.ask(format!("{n}")).await;
    }
    client.send("fail").await;
    client.send("panic").await;
    assert_eq!(client.ask("retry 3").await, "delivered 3");
    client.close(1000, "").await;

    let outcomes = [
        ("connect", "done", 1.0),
        ("websocket", "done", 1.0),
        ("message", "done", 6.0),
        ("message", "failed", 2.0),
        ("message", "retry", 2.0),
        ("close", "done", 1.0),
    ];
    for (kind, outcome, many) in outcomes {
        let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\"");
        wait_figure(admin, "events_total", &labels, many).await;
    }
    wait_figure(admin, "events_total", "", 13.0).await;
    wait_figure(admin, "handler_panics_total", "", 1.0).await;
    wait_figure(admin, "handler_duration_seconds_count", "", 13.0).await;
    let least = "kind=\"message\",le=\"+Inf\"";
    wait_figure(admin, "handler_duration_seconds_bucket", least, 10.0).await;
    assert!(figure(admin, "handler_duration_seconds_sum", "kind=\"message\"").await > 0.0);

    // When the gateway has the last ack, the worker has counted it.
    let gone = "gatebus_gateway_connections_closed_total";
    gateway.wait_metric(gone, "", 1.0).await;
    eventually("the last event to be acknowledged", || async {
        let closing = gateway.metric("gatebus_gateway_clients_closing", "").await;
        (closing == 0.0).then_some(())
    })
    .await;
    for status in ["done", "retry", "progress", "busy"] {
        let labels = format!("status=\"{status}\"");
        let at_gateway = gateway.metric("gatebus_gateway_acks_total", &labels).await;
        assert_eq!(figure(admin, "acks_total", &labels).await, at_gateway);
    }
    let batches = figure(admin, "batches_total", "").await;
    let done = figure(admin, "acks_total", "status=\"done\"").await;
    let retried = figure(admin, "acks_total", "status=\"retry\"").await;
    assert_eq!((retried, batches), (2.0, done + retried));
    assert_eq!(figure(admin, "batches_redelivered_total", "").await, 2.0);
    assert_eq!(figure(admin, "batches_running", "").await, 0.0);
    assert_eq!(figure(admin, "concurrency", "").await, 7.0);
    assert_eq!(figure(admin, "link_up", "").await, 1.0);
    assert_eq!(figure(admin, "link_lost_total", "").await, 0.0);
    assert_eq!(figure(admin, "malformed_messages_total", "").await, 0.0);
    assert!(figure(admin, "start_time_seconds", "").await > 1.7e9);

    let rubbish = nats.client().await;
    let subject = nats.subject("event.test.message");
    rubbish
        .publish(subject, "rubbish".into())
        .await
        .expect("a subject");
    wait_figure(admin, "malformed_messages_total", "", 1.0).await;
}

/// Proves that a worker without room says so, and how many handlers are at it.
#[tokio::test]
async fn a_worker_that_is_full_counts_what_it_declines() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker").admin();
    let mut worker = worker.concurrency(1).start().await;
    let admin = worker.admin().await;
    let mut first = Client::connect(&gateway).await;
    first.id().await;
    first.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    assert_eq!(figure(admin, "batches_running", "").await, 1.0);
    let mut second = Client::connect(&gateway).await;
    let busy = "gatebus_worker_acks_total";
    admin.wait_metric(busy, "status=\"busy\"", 3.0).await;
    worker.open("gate").await;
    assert_eq!(first.text().await, "released gate");
    assert_eq!(second.ask("hello").await, "hello");
    let redelivered = figure(admin, "batches_redelivered_total", "").await;
    assert_eq!(redelivered, 0.0, "busy is no attempt");
}

/// Proves that life has nothing to do with NATS, and readiness everything.
#[tokio::test]
async fn a_worker_lives_without_nats_and_is_ready_when_it_takes_events() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker").admin();
    let mut worker = worker.start_unready();
    let admin = worker.admin().await;
    assert_eq!(admin.get("/livez").await.status, 200);
    let unready = admin.get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.body, "not ready: NATS is not connected\n");
    assert_eq!(figure(admin, "link_up", "").await, 0.0);

    nats.start_again().await;
    admin.wait_ready(true).await;
    assert_eq!(figure(admin, "link_up", "").await, 1.0);
    nats.stop().await;
    admin.wait_ready(false).await;
    assert_eq!(admin.get("/livez").await.status, 200);
    assert_eq!(figure(admin, "link_lost_total", "").await, 1.0);
    nats.start_again().await;
    admin.wait_ready(true).await;

    let gateway = Gateway::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    worker.terminate();
    admin.wait_ready(false).await;
    let unready = admin.get("/readyz").await;
    assert_eq!(unready.body, "not ready: the worker is stopping\n");
    assert_eq!(admin.get("/livez").await.status, 200);
    worker.open("gate").await;
    worker.wait_for_success().await;
}

/// Proves that a worker which NATS gives no events, because its user may not have them, is not ready:
/// neither those of its service, nor those for it alone.
#[tokio::test]
async fn a_worker_that_may_not_subscribe_is_not_ready() {
    for denied in ["*.event.>", "*.worker.>"] {
        let user = format!(
            "{{ user: a, password: b, permissions: {{ subscribe: {{ deny: \"{denied}\" }} }} }}"
        );
        let nats = Nats::start_guarded(&format!("authorization {{ users: [{user}] }}")).await;
        let journal = Journal::new();
        let url = nats.url().replace("://", "://a:b@");
        let worker = Worker::with(&nats, &journal, "worker").env("NATS_URL", url);
        let worker = worker.admin().start_unready();
        let admin = worker.admin().await;
        let refused = "not ready: NATS refuses the subscription to events, see the log\n";
        eventually("/readyz to say why", || async {
            (admin.get("/readyz").await.body == refused).then_some(())
        })
        .await;
        assert!(!admin.is_ready().await);
    }
}

/// Proves that nothing is opened unasked, and that what cannot be opened is said.
#[tokio::test]
async fn a_worker_has_an_admin_port_only_if_it_is_asked_for_and_says_what_is_wrong_with_it() {
    let nats = Nats::start().await;
    let journal = Journal::new();
    let plain = Worker::start(&nats, &journal).await;
    assert_eq!(plain.log.count("admin on"), 0);

    let worker = Worker::with(&nats, &journal, "first").admin();
    let first = worker.start().await;
    let taken = format!("127.0.0.1:{}", first.admin().await.port());
    for (address, says, code) in [
        ("7280", "GATEBUS_ADMIN", 2),
        (taken.as_str(), taken.as_str(), 1),
    ] {
        let worker = Worker::with(&nats, &journal, "second");
        let mut worker = worker.env("GATEBUS_ADMIN", address).start_unready();
        assert_eq!(worker.wait().await.code(), Some(code), "{address}");
        let said = worker.log.whole().await.join("\n");
        assert!(said.contains(says), "{said}");
    }
}

/// Proves that the port speaks enough HTTP for what asks it, and that rubbish does no harm.
#[tokio::test]
async fn a_workers_admin_port_answers_what_is_asked_and_refuses_the_rest() {
    let nats = Nats::start().await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker").admin();
    let worker = worker.start().await;
    let admin = worker.admin().await;
    let long = format!("/{}", "x".repeat(20_000));
    let asked = [
        ("GET", "/livez", 200),
        ("GET", "/livez?verbose", 200),
        ("HEAD", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 404),
        ("GET", "/livez/", 404),
        ("POST", "/metrics", 405),
        ("GET", &long, 431),
    ];
    for (method, path, status) in asked {
        let answer = gatebus_tests::http::try_ask(admin.port(), method, path, &[], b"").await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {method} {path:.9}"));
        assert_eq!(answer.status, status, "{method} {path:.9}");
        assert_eq!(
            method == "HEAD",
            answer.body.is_empty(),
            "{method} {path:.9}"
        );
    }
    // Who connects and says nothing keeps nobody out.
    let mut silent = Vec::new();
    for _ in 0..8 {
        let visitor = tokio::net::TcpStream::connect(("127.0.0.1", admin.port())).await;
        silent.push(visitor.expect("it listens"));
    }
    assert_eq!(admin.get("/livez").await.status, 200);
}
