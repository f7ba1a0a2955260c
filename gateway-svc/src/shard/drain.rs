//! The drain: clients are let go evenly, and nothing that they said is lost.
//!
//! It waits for nothing that cannot come. Where NATS has been away for as long as events would wait
//! for a worker (`--worker-wait`), what waits is given up; and load balancers that have read
//! "not ready" for all of that time need no delay to notice.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tracing::{info, warn};
use wire::{CloseCode, DeadReason};

use super::{Handle, Shard, serve::Door};
use crate::{config::Drain, topics::Slot};

/// The deadline's end is left to the last messages to NATS, so much of it at the most.
const LAST_FLUSH: Duration = Duration::from_secs(1);
/// How often the link is asked whether it has written all.
const FLUSH_POLL: Duration = Duration::from_millis(10);
/// How often the link is asked whether NATS is there.
const AWAY_POLL: Duration = Duration::from_millis(100);

/// Lets everybody go, within the deadline. The process is unready already.
///
/// Who is shaking hands when the listeners close may finish, and is let go then.
pub(super) async fn drain(shard: Handle, config: &Drain, door: &Door, mut accepting: JoinSet<()>) {
    let deadline = Instant::now() + config.deadline;
    // unready since then, as /readyz has said
    let away = shard.borrow().link.away_for().unwrap_or_default();
    sleep(config.delay.saturating_sub(away)).await;
    door.close();
    while accepting.join_next().await.is_some() {}
    let letting_go = async {
        close_evenly(&shard, config.spread).await;
        door.quiet().await;
        acknowledged(&shard).await
    };
    let why = match timeout_at(deadline - last_flush(config), letting_go).await {
        Ok(Settled::Acknowledged) => None,
        Ok(Settled::Hopeless) => Some("NATS has been away for too long"),
        Err(_) => Some("the drain's deadline is over"),
    };
    if let Some(why) = why {
        shard.borrow_mut().give_up_the_rest(why);
    }
    shard.borrow_mut().leave();
    let told = timeout_at(deadline, flushed(&shard)).await;
    if told != Ok(true) {
        warn!("the last messages may not have reached NATS");
    }
}

/// What came of the clients' last events.
enum Settled {
    /// All of them are acknowledged.
    Acknowledged,
    /// They cannot be, as far as one can see.
    Hopeless,
}

/// How much of the deadline is left to the last messages: half of what the clients leave over.
fn last_flush(config: &Drain) -> Duration {
    let rest = config.deadline.saturating_sub(config.delay + config.spread);
    (rest / 2).min(LAST_FLUSH)
}

async fn close_evenly(shard: &Handle, spread: Duration) {
    let slots = {
        let mut shard = shard.borrow_mut();
        shard.draining = true;
        let open = |slot: &Slot| {
            shard.clients[*slot as usize]
                .as_ref()
                .is_some_and(|c| c.open)
        };
        shard
            .hub
            .slots()
            .filter(open)
            .map(|slot| (slot, shard.hub.conn(slot)))
            .collect::<Vec<_>>()
    };
    info!(clients = slots.len(), ?spread, "letting clients go");
    let start = Instant::now();
    let count = slots.len().max(1) as f64;
    for (i, (slot, conn)) in slots.into_iter().enumerate() {
        sleep_until(start + spread.mul_f64(i as f64 / count)).await;
        let mut shard = shard.borrow_mut();
        if shard.hub.find(conn) == Some(slot) {
            shard.let_go(slot, CloseCode::Restart.label());
            shard.wake_driver();
        }
    }
}

/// Waits until the last event of the last client is acknowledged, or until NATS has been away for so
/// long that events which wait for a worker would be given up too.
async fn acknowledged(shard: &Handle) -> Settled {
    let emptied = shard.borrow().emptied.clone();
    let patience = shard.borrow().limits.worker_wait;
    loop {
        let notified = emptied.notified();
        if shard.borrow().hub.len() == 0 {
            return Settled::Acknowledged;
        }
        if shard
            .borrow()
            .link
            .away_for()
            .is_some_and(|away| away >= patience)
        {
            return Settled::Hopeless;
        }
        let _ = timeout(AWAY_POLL, notified).await;
    }
}

/// Waits until the server has heard everything. False: there is no connection, and what was put into
/// the last one is gone with it.
async fn flushed(shard: &Handle) -> bool {
    shard.borrow_mut().link.flush();
    shard.borrow_mut().wake_driver();
    loop {
        {
            let link = &shard.borrow().link;
            if !link.is_up() || link.is_flushed() {
                return link.is_up();
            }
        }
        sleep(FLUSH_POLL).await;
    }
}

impl Shard {
    /// What is still in flight or waits is given up.
    fn give_up_the_rest(&mut self, why: &str) {
        warn!(
            clients = self.hub.len(),
            "{why}; events that are not acknowledged are given up"
        );
        self.give_up_all(DeadReason::Drain);
    }

    /// Says goodbye on the bus. The last shard speaks for the process.
    fn leave(&mut self) {
        if self.process.leave(self.number) {
            let beat = wire::encode(&self.process.beat());
            let subject = self.subjects.gateway_beat(self.process.id());
            let _ = self.link.publish(subject, None, &beat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_have_their_time_within_the_deadline() {
        let flush = |delay, spread, deadline| {
            let [delay, spread, deadline] = [delay, spread, deadline].map(Duration::from_millis);
            last_flush(&Drain {
                delay,
                spread,
                deadline,
                advice: wire::Advice::default(),
            })
            .as_millis()
        };
        assert_eq!(flush(5_000, 10_000, 60_000), 1_000);
        assert_eq!(flush(0, 0, 1_000), 500);
        assert_eq!(flush(0, 100, 102), 1);
    }
}
