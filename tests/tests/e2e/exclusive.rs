//! Exclusive timers: one worker of the service runs the job, and another when it is gone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use gatebus_tests::{
    Entry, Journal, Nats, Worker, eventually,
    journal::now,
    within,
    worker::{Options, Worker as Running},
};
use tokio::sync::mpsc;
use worker_sdk::{ErrorKind, Gateway, timer};

/// A machine under load may be late.
const SLACK: Duration = Duration::from_secs(2);

fn with(nats: &Nats, journal: &Journal, name: &str, timer: &str) -> Options {
    Worker::with(nats, journal, name).env("WORKER_EXCLUSIVE", timer)
}

async fn three(nats: &Nats, journal: &Journal, timer: &str) -> Vec<Running> {
    let start = |name| with(nats, journal, name, timer).start();
    join_all(NAMES.map(start)).await
}

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Waits until so many runs have begun after a time, and returns them.
async fn turns(journal: &Journal, many: usize, after: u64) -> Vec<Entry> {
    let fits = |e: &Entry| e.kind == "turn" && e.at > after;
    journal.wait("turn", many, fits).await
}

/// Who runs the job: one of them, and nobody else.
fn only(turns: &[Entry]) -> usize {
    let first = &turns[0].worker;
    let others = turns.iter().any(|turn| turn.worker != *first);
    assert!(!others, "two at once: {turns:#?}");
    let at = NAMES.iter().position(|name| name == first);
    at.expect("one of the three")
}

/// No run begins before the last one of another worker has ended. `cut`: whose runs may have no end.
fn assert_one_at_a_time(journal: &Journal, cut: &str) {
    let mut running: Option<String> = None;
    for entry in journal.entries() {
        match entry.kind.as_str() {
            "turn" => {
                if let Some(other) = running.replace(entry.worker.clone()) {
                    assert_eq!(other, cut, "{} began meanwhile", entry.worker);
                }
            }
            "turned" => assert_eq!(running.take(), Some(entry.worker)),
            _ => {}
        }
    }
}

/// Proves that of three workers one runs the job, that its death is noticed within 5 s, and that
/// another service of the same prefix has a timer of its own.
#[tokio::test]
async fn one_of_three_workers_runs_it_and_another_within_5_s_of_its_death() {
    const PROMISED: Duration = Duration::from_secs(5);
    let nats = Nats::start_jetstream().await;
    let (journal, others) = (Journal::new(), Journal::new());
    let mut workers = three(&nats, &journal, "job 100 20").await;
    let other = with(&nats, &others, "other", "job 100 0").service("other");
    let _other = other.start().await;
    let holder = only(&turns(&journal, 20, 0).await);

    workers[holder].kill().await;
    let killed = now();
    let after = turns(&journal, 20, killed).await;
    assert_ne!(only(&after), holder);
    let gap = Duration::from_nanos(after[0].at - killed);
    assert!(gap < PROMISED + SLACK, "nobody ran it for {gap:?}");
    assert_one_at_a_time(&journal, NAMES[holder]);
    turns(&others, 1, killed).await;
}

/// Proves that a worker which stops hands over, rather than let its lease run out.
#[tokio::test]
async fn another_worker_runs_it_at_once_when_its_worker_stops() {
    /// A lease that was not released stands for at least two of its three seconds.
    const RUN_OUT: Duration = Duration::from_secs(2);
    let nats = Nats::start_jetstream().await;
    let journal = Journal::new();
    let mut workers = three(&nats, &journal, "job 50 0").await;
    let holder = only(&turns(&journal, 10, 0).await);
    workers[holder].terminate();
    workers[holder].wait_for_success().await;
    let stopped = journal.find("stop", |e| e.kind == "stop").await.at;
    let after = turns(&journal, 10, stopped).await;
    assert_ne!(only(&after), holder);
    let gap = Duration::from_nanos(after[0].at - stopped);
    assert!(gap < RUN_OUT, "nobody ran it for {gap:?}");
    assert_one_at_a_time(&journal, "");
}

/// Proves that a worker which stood still finds its lease lost before it does anything more: the run
/// that it was at is dropped, and none begins.
#[tokio::test]
async fn a_worker_that_stood_still_does_not_run_it_any_more() {
    let nats = Nats::start_jetstream().await;
    let journal = Journal::new();
    let workers = three(&nats, &journal, "job 300 200").await;
    let holder = only(&turns(&journal, 3, 0).await);
    let still = &workers[holder];
    // in the middle of a run
    turns(&journal, 1, now()).await;
    still.hold().await;
    let held = now();
    let heir = only(&turns(&journal, 2, held).await);
    assert_ne!(heir, holder);
    still.go_on();
    let lost = |line: &str| line.contains("the lease is lost").then_some(());
    still.log.find("the lease is lost", lost).await;
    let since = turns(&journal, 10, held).await;
    assert_eq!(only(&since), heir);
    let done = journal.of("turned");
    let finished = |e: &&Entry| e.at > held && e.worker == NAMES[holder];
    assert_eq!(done.iter().filter(finished).count(), 0, "it was dropped");
    assert_one_at_a_time(&journal, NAMES[holder]);
}

/// Proves that a run may take longer than a lease.
#[tokio::test]
async fn a_run_that_takes_longer_than_a_lease_keeps_it() {
    let nats = Nats::start_jetstream().await;
    let journal = Journal::new();
    let _workers = three(&nats, &journal, "job 10 4000").await;
    let done = journal.wait("turned", 1, |e| e.kind == "turned").await;
    let began = turns(&journal, 2, 0).await;
    assert_eq!(only(&began), only(&done));
    assert_one_at_a_time(&journal, "");
}

/// Proves that a server which is started again finds the lease as it was, and that the job goes on.
#[tokio::test]
async fn the_job_goes_on_after_an_outage() {
    let mut nats = Nats::start_jetstream().await;
    let journal = Journal::new();
    let _workers = three(&nats, &journal, "job 50 10").await;
    only(&turns(&journal, 5, 0).await);
    for _ in 0..2 {
        nats.stop().await;
        nats.start_again().await;
        turns(&journal, 10, now()).await;
    }
    // A run that was under way when its worker lost the lease has no end.
    for name in NAMES {
        let mine: Vec<_> = journal
            .entries()
            .into_iter()
            .filter(|e| e.worker == name)
            .collect();
        let running = mine
            .windows(2)
            .filter(|w| w[0].kind == "turn" && w[1].kind == "turn");
        assert!(running.count() <= 2, "{name}");
    }
}

/// Proves that the period is the service's: who takes over runs when it is due, not a period later.
#[tokio::test]
async fn who_takes_over_knows_when_the_next_run_is_due() {
    const HOUR: u64 = 3_600_000;
    let nats = Nats::start_jetstream().await;
    let journal = Journal::new();
    let timer = format!("job {HOUR} 0");
    let mut first = with(&nats, &journal, "one", &timer).start().await;
    let held = |line: &str| line.contains("holds the lease").then_some(());
    first.log.find("it holds the lease", held).await;
    first.terminate();
    first.wait_for_success().await;
    assert_eq!(journal.of("turn").len(), 0, "not due");

    // as if an hour had passed
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_1970.expect("after 1970").as_millis();
    let record = format!(r#"{{"ran":{}}}"#, now - u128::from(HOUR));
    let key = format!("$KV.{}-leases.test.job", nats.prefix());
    let bus = nats.client().await;
    bus.publish(key, record.into()).await.expect("published");
    bus.flush().await.expect("the server is there");
    let _second = with(&nats, &journal, "two", &timer).start().await;
    assert_eq!(turns(&journal, 1, 0).await[0].worker, "two");
}

/// Proves that an operator reads what is missing and how to turn it on.
#[tokio::test]
async fn without_jetstream_a_worker_does_not_start_and_says_why() {
    let nats = Nats::start().await;
    let journal = Journal::new();
    let mut worker = with(&nats, &journal, "one", "job 100 0").start_unready();
    assert_eq!(worker.wait().await.code(), Some(1));
    let said = worker.log.whole().await.join("\n");
    for part in ["exclusive timers need JetStream", "nats-server --jetstream"] {
        assert!(said.contains(part), "{said}");
    }
    let handle = nats.handle().await;
    let hour = Duration::from_secs(3600);
    let refused = timer::exclusive(&handle, "job", hour, |_| async { Ok(()) });
    let kind = Box::pin(refused).await.expect_err("no JetStream").kind();
    assert_eq!(kind, ErrorKind::NoJetStream);
    let refused = timer::exclusive(&handle, "a.b", hour, |_| async { Ok(()) });
    let kind = Box::pin(refused).await.expect_err("no name").kind();
    assert_eq!(kind, ErrorKind::InvalidName);
}

/// What a handle is told that wants an exclusive timer and cannot have it.
async fn told(handle: &Gateway) -> (ErrorKind, String) {
    let hour = Duration::from_secs(3600);
    let refused = timer::exclusive(handle, "job", hour, |_| async { Ok(()) });
    let refused = within("an answer", Box::pin(refused)).await;
    let error = refused.expect_err("it cannot be");
    (error.kind(), format!("{error:?}"))
}

/// Proves that a server which has JetStream, and no room for the bucket, is an error that says so and
/// not a wait without an end; whether it is the server's room, or the account's.
#[tokio::test]
async fn without_room_for_the_bucket_there_is_an_error_with_the_servers_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    for limits in [
        format!("jetstream {{ store_dir: {store:?}, max_memory_store: 0, max_file_store: 65536 }}"),
        format!(
            "jetstream {{ store_dir: {store:?} }}\n\
             accounts {{ A {{ jetstream: {{ max_file: 65536 }}, users: [{{ user: a, password: b }}] }} }}"
        ),
    ] {
        let nats = Nats::start_guarded(&limits).await;
        let (kind, says) = told(&handle_as(&nats, "a", "b").await).await;
        assert_eq!(kind, ErrorKind::Refused, "{says}");
        for part in ["insufficient storage", "no room", "max_file", "-leases"] {
            assert!(says.contains(part), "{part}: {says}");
        }
    }
}

async fn handle_as(nats: &Nats, user: &str, password: &str) -> Gateway {
    let builder = Gateway::builder().nats_url(nats.url());
    let handle = builder.user(user, password).prefix(nats.prefix()).connect();
    let handle = within("the handle to connect", Box::pin(handle)).await;
    handle.expect("the server takes it")
}

/// Proves that an account without JetStream, on a server that has it, is told like a server without.
#[tokio::test]
async fn an_account_without_jetstream_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let nats = Nats::start_guarded(&format!(
        "jetstream {{ store_dir: {:?} }}\n\
         accounts {{ A {{ users: [{{ user: a, password: b }}] }}, B {{ jetstream: enabled }} }}",
        folder.path()
    ))
    .await;
    let (kind, says) = told(&handle_as(&nats, "a", "b").await).await;
    assert_eq!(kind, ErrorKind::NoJetStream, "{says}");
}

/// Proves that each permission without which there is no timer is named where it is missing, also if
/// the bucket is there already.
#[tokio::test]
async fn a_permission_that_is_missing_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    // The prefix, and with it the bucket's name, is known when the server runs.
    let users = [
        ("info", "publish", "$JS.API.INFO"),
        ("find", "publish", "$JS.API.STREAM.INFO.>"),
        ("make", "publish", "$JS.API.STREAM.CREATE.>"),
        ("read", "publish", "$JS.API.DIRECT.GET.>"),
        ("write", "publish", "$KV.>"),
        ("all", "publish", "$JS.>"),
        ("inbox", "subscribe", "_INBOX.>"),
    ];
    let user = |(name, verb, subject): &(&str, &str, &str)| {
        format!(
            "{{ user: {name}, password: b, permissions: {{ {verb}: {{ deny: \"{subject}\" }} }} }}"
        )
    };
    let lines: Vec<_> = users.iter().map(user).collect();
    let lines = lines.join(", ");
    let nats = Nats::start_guarded(&format!(
        "jetstream {{ store_dir: {:?} }}\n\
         accounts {{ A {{ jetstream: enabled, users: [{{ user: free, password: b }}, {lines}] }} }}",
        folder.path()
    ))
    .await;
    let refused = async |name: &str| {
        let denied = users.iter().find(|user| user.0 == name).expect("a user");
        let (kind, says) = told(&handle_as(&nats, name, "b").await).await;
        assert_eq!(kind, ErrorKind::Refused, "{name}: {says}");
        let word = denied.2.trim_end_matches('>');
        let what = format!("it may not {} to {word}", denied.1);
        assert!(says.contains(&what), "{name}: {says}");
    };
    // Nobody has made the bucket.
    for name in ["info", "find", "make", "all", "inbox"] {
        refused(name).await;
    }
    let free = handle_as(&nats, "free", "b").await;
    let hour = Duration::from_secs(3600);
    let timer = timer::exclusive(&free, "other", hour, |_| async { Ok(()) });
    Box::pin(timer).await.expect("it may");
    for name in ["read", "write"] {
        refused(name).await;
    }
    // Who need not make it may do without that permission.
    let maker = handle_as(&nats, "make", "b").await;
    let timer = timer::exclusive(&maker, "job", hour, |_| async { Ok(()) });
    within("a timer", Box::pin(timer)).await.expect("it may");
}

/// Proves that an operator reads of it in the log, also where nobody looks at the error.
#[tokio::test]
async fn a_worker_without_permission_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let nats = Nats::start_guarded(&format!(
        "jetstream {{ store_dir: {:?} }}\n\
         accounts {{ A {{ jetstream: enabled, users: [{{ user: a, password: b, permissions: {{ publish: {{ deny: \"$JS.API.>\" }} }} }}] }} }}",
        folder.path()
    ))
    .await;
    let journal = Journal::new();
    let url = nats.url().replace("://", "://a:b@");
    let worker = with(&nats, &journal, "one", "job 100 0").env("NATS_URL", url);
    let mut worker = worker.start_unready();
    assert_eq!(worker.wait().await.code(), Some(1));
    assert_eq!(worker.log.count("there is no such exclusive timer"), 1);
    let said = worker.log.whole().await.join("\n");
    assert!(
        said.contains("it may not publish to $JS.API.INFO"),
        "{said}"
    );
}

/// Proves that a cluster which has no leader, here because its other servers are not there yet, is waited
/// for, and that a worker which waits can be stopped.
#[tokio::test]
async fn while_jetstream_has_no_leader_an_exclusive_timer_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let nats = Nats::start_guarded(&format!(
        "server_name: one\n\
         jetstream {{ store_dir: {:?} }}\n\
         cluster {{ name: tests, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:1\", \"nats://127.0.0.1:2\"] }}",
        folder.path()
    ))
    .await;
    let journal = Journal::new();
    let mut worker = with(&nats, &journal, "one", "job 100 0").start_unready();
    let waits = |line: &str| line.contains("does not answer, trying on").then_some(());
    worker.log.find("JetStream does not answer", waits).await;
    worker.terminate();
    worker.wait_for_success().await;
    assert_eq!(worker.log.count("there is no such exclusive timer"), 0);
}

/// Proves that an outage is no refusal: whoever asks meanwhile gets the timer when NATS is back.
#[tokio::test]
async fn while_nats_is_away_an_exclusive_timer_is_waited_for() {
    let mut nats = Nats::start_jetstream().await;
    let handle = nats.handle().await;
    nats.stop().await;
    eventually("the handle to notice", || {
        std::future::ready((!handle.is_connected()).then_some(()))
    })
    .await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let making = tokio::spawn(async move {
        let period = Duration::from_millis(20);
        let job = move |_| {
            let _ = said.send(());
            async { Ok(()) }
        };
        let timer = Box::pin(timer::exclusive(&handle, "job", period, job)).await;
        (handle, timer.map(|_| ()))
    });
    nats.start_again().await;
    let (_handle, made) = within("the timer", making).await.expect("no panic");
    made.expect("it was only away");
    within("a run", heard.recv()).await.expect("a run");
}

/// Proves that programs which are no workers share their timers too, and that cancelling one, or
/// dropping its last handle, hands over.
#[tokio::test]
async fn handles_outside_of_workers_share_a_timer_until_it_is_cancelled() {
    let nats = Nats::start_jetstream().await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let begin = async |number: usize, handle: &Gateway| {
        let said = said.clone();
        let period = Duration::from_millis(20);
        let job = move |_| {
            let _ = said.send(number);
            async { Ok(()) }
        };
        let begun = Box::pin(timer::exclusive(handle, "job", period, job)).await;
        begun.expect("JetStream is there")
    };
    let handles = [
        nats.handle().await,
        nats.handle().await,
        nats.handle().await,
    ];
    let mut timers = Vec::new();
    for (number, handle) in handles.iter().enumerate() {
        timers.push(begin(number, handle).await);
    }
    let mut handles = handles.map(Some);
    let mut seen = Vec::new();
    for round in 0..3 {
        let who = eventually("a run of another", || {
            let next = heard.try_recv().ok();
            std::future::ready(next.filter(|who| !seen.contains(who)))
        })
        .await;
        seen.push(who);
        match round {
            0 => timers[who].cancel(),
            _ => handles[who] = None,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}
