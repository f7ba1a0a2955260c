use wire::{CloseEvent, EventKind, Payload, WorkerId};

use super::*;

fn message(text: &str) -> Event {
    Event::Message(Payload::Text(text.into()))
}

fn texts(dispatch: &Dispatch) -> Vec<String> {
    dispatch
        .batch()
        .events()
        .map(|e| match e {
            Event::Message(p) => String::from_utf8(p.as_bytes().to_vec()).unwrap(),
            other => format!("{:?}", other.kind()),
        })
        .collect()
}

#[test]
fn only_one_batch_is_in_flight_and_the_next_gathers_meanwhile() {
    let mut d = Dispatch::default();
    d.push(Event::Connect);
    assert!(d.begin(MOST_BYTES));
    for text in ["a", "b", "c"] {
        d.push(message(text));
        assert!(!d.begin(MOST_BYTES), "one is in flight");
    }
    d.sent(0, InFlight::default().begin());
    assert!(d.is_in_flight(1, 1));
    d.done();
    assert!(d.begin(MOST_BYTES));
    assert_eq!(texts(&d), ["a", "b", "c"]);
    assert_eq!((d.batch().seq, d.batch().attempt), (2, 1));
}

#[test]
fn a_batch_holds_events_of_one_kind_only() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.push(Event::Close(Box::new(CloseEvent {
        by: wire::ClosedBy::Client,
        code: 1000,
        reason: String::new(),
        groups: vec![],
    })));
    d.begin(MOST_BYTES);
    assert_eq!(texts(&d), ["a"]);
    d.sent(0, InFlight::default().begin());
    d.done();
    d.begin(MOST_BYTES);
    assert_eq!(d.batch().kind, EventKind::Close);
}

#[test]
fn a_websocket_clients_coming_is_one_batch_of_two_events() {
    let mut d = Dispatch::default();
    d.push(Event::Connect);
    d.push(Event::Websocket(Box::default()));
    d.push(message("a"));
    d.begin(MOST_BYTES);
    assert!(d.batch().has_connect());
    assert_eq!(
        (d.batch().kind, d.batch().events().len()),
        (EventKind::Websocket, 2)
    );
    d.sent(0, InFlight::default().begin());
    // `on_connect` is done, the handshake is to come again, by itself
    assert_eq!(d.retry(1, 5), Retry::Paused);
    assert!(d.resume() && !d.batch().has_connect());
    assert_eq!(d.batch().kind, EventKind::Websocket);
    d.sent(1, InFlight::default().begin());
    d.done();
    assert!(d.begin(MOST_BYTES));
    assert_eq!(texts(&d), ["a"]);
}

#[test]
fn a_batch_is_bounded_in_bytes_but_one_message_always_goes() {
    let mut d = Dispatch::default();
    let big = "x".repeat(MOST_BYTES - 10);
    d.push(message(&big));
    d.push(message("0123456789"));
    d.push(message("over"));
    d.begin(MOST_BYTES);
    assert_eq!(d.batch().events().len(), 2);
    assert!(d.is_full());
    d.sent(0, InFlight::default().begin());
    d.done();
    assert!(!d.is_full());
}

#[test]
fn a_late_ack_of_an_old_attempt_is_not_in_flight() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.due(9_999, 10_000, 30_000, 5), Due::Nothing);
    assert_eq!(d.due(10_000, 10_000, 30_000, 5), Due::Again);
    assert!(!d.is_in_flight(1, 1));
    d.sent(10_000, InFlight::default().begin());
    assert!(!d.is_in_flight(1, 1));
    assert!(d.is_in_flight(1, 2));
}

#[test]
fn a_batch_that_is_too_large_shrinks_to_one_event() {
    let mut d = Dispatch::default();
    for text in ["a", "b", "c"] {
        d.push(message(text));
    }
    d.begin(MOST_BYTES);
    assert!(d.shrink());
    assert_eq!(texts(&d), ["a", "b"]);
    assert!(d.shrink() && !d.shrink());
    assert_eq!(texts(&d), ["a"]);
    d.sent(0, InFlight::default().begin());
    d.done();
    assert!(d.begin(1), "one message goes whatever the limit");
    assert_eq!(texts(&d), ["b"]);
}

#[test]
fn a_lost_link_is_not_an_attempt_of_a_worker() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    for now in 0..10 {
        d.sent(now, InFlight::default().begin());
        assert!(d.relink(now));
    }
    assert_eq!(d.batch().attempt, 11);
    d.sent(10, InFlight::default().begin());
    assert_eq!(d.due(20, 10, 30, 2), Due::Again);
}

#[test]
fn progress_starts_the_wait_anew() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    d.progress(8_000);
    assert_eq!(d.due(17_999, 10_000, 30_000, 5), Due::Nothing);
    assert_eq!(d.due(18_000, 10_000, 30_000, 5), Due::Again);
}

#[test]
fn the_last_attempt_is_given_up() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.push(Event::Connect);
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.due(10, 10, 30, 2), Due::Again);
    d.sent(10, InFlight::default().begin());
    assert_eq!(d.due(20, 10, 30, 2), Due::GiveUp);
    d.done();
    assert!(d.begin(MOST_BYTES), "the next event goes on");
}

#[test]
fn no_worker_does_not_count_as_an_attempt_and_ends_after_worker_wait() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    for now in [0, 100, 29_000] {
        d.sent(now, InFlight::default().begin());
        d.park(now);
        assert_eq!(d.due(now, 10_000, 30_000, 5), Due::Nothing);
        assert!(d.resume());
    }
    assert_eq!(d.batch().attempt, 1);
    d.sent(30_000, InFlight::default().begin());
    d.park(30_000);
    assert_eq!(d.due(30_000, 10_000, 30_000, 5), Due::NoWorker);
}

#[test]
fn a_retry_keeps_what_is_not_done_and_counts() {
    let mut d = Dispatch::default();
    for text in ["a", "b", "c"] {
        d.push(message(text));
    }
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.retry(1, 5), Retry::Paused);
    assert_eq!(texts(&d), ["b", "c"]);
    assert!(d.resume());
    assert_eq!((d.batch().seq, d.batch().attempt), (1, 2));
    d.sent(1, InFlight::default().begin());
    assert_eq!(d.retry(2, 5), Retry::Done);
    assert!(d.is_empty() && !d.begin(MOST_BYTES));
}

#[test]
fn busy_is_not_an_attempt() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.busy(), 1);
    assert!(d.resume());
    assert_eq!(d.batch().attempt, 1);
    d.sent(1, InFlight::default().begin());
    assert_eq!(d.busy(), 2);
}

#[test]
fn time_without_a_link_is_not_time_without_a_worker() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.sent(0, InFlight::default().begin());
    d.park(0);
    assert!(!d.relink(40_000), "it still waits for a worker");
    assert_eq!(d.due(69_999, 10_000, 30_000, 5), Due::Nothing);
    assert_eq!(d.due(70_000, 10_000, 30_000, 5), Due::NoWorker);
}

#[test]
fn what_was_sent_over_a_lost_link_goes_again_and_says_so() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    assert!(d.relink(0), "it was never sent");
    assert_eq!(d.batch().attempt, 1);
    d.sent(0, InFlight::default().begin());
    assert!(d.relink(0));
    assert_eq!(d.batch().attempt, 2);
}

#[test]
fn a_worker_that_is_not_there_is_no_attempt_and_no_absence() {
    let worker = WorkerId::from_bytes([1; 6]);
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.stick(worker);
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.worker(), Some(worker));
    assert!(d.turn_away(), "it is ready for any");
    assert_eq!(d.ready().map(|b| (b.seq, b.attempt)), Some((1, 1)));
    assert_eq!(d.worker(), None);
    d.sent(1, InFlight::default().begin());
    assert!(!d.turn_away(), "this was any");
    d.park(1);
    assert_eq!(d.due(30_001, 10_000, 30_000, 5), Due::NoWorker);
}

#[test]
fn who_moves_on_counts_busy_answers_anew() {
    let mut d = Dispatch::default();
    d.push(message("a"));
    d.begin(MOST_BYTES);
    d.stick(WorkerId::from_bytes([1; 6]));
    for times in 1..=3 {
        d.sent(0, InFlight::default().begin());
        assert_eq!(d.busy(), times);
        d.resume();
    }
    assert!(d.move_on() && !d.move_on());
    d.sent(0, InFlight::default().begin());
    assert_eq!(d.busy(), 1);
}
