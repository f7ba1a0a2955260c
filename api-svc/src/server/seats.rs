//! The places for connections: so many, and when all are taken, who waits longest for its caller
//! gives way. Who is reading an answer does so only where there is nobody else.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::pace::Pace;

/// How long a newcomer waits, while requests are at work on all connections, before it looks again.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Seats {
    room: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Pace>>>,
    next: AtomicU64,
}

/// A place, until it is dropped.
pub(super) struct Seat {
    pub(super) pace: Arc<Pace>,
    seats: Arc<Seats>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(many: usize) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(many)),
            taken: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Waits for a place. Cancel safe.
    pub(super) async fn take(self: &Arc<Self>) -> Seat {
        let permit = loop {
            if let Ok(permit) = self.room.clone().try_acquire_owned() {
                break permit;
            }
            self.free_one();
            let freed = timeout(LOOK, self.room.clone().acquire_owned()).await;
            if let Ok(permit) = freed {
                break permit.expect("nobody closes the room");
            }
        };
        let number = self.next.fetch_add(1, Relaxed);
        let pace = Arc::new(Pace::new(Instant::now()));
        self.lock().insert(number, pace.clone());
        Seat {
            pace,
            seats: self.clone(),
            number,
            _permit: permit,
        }
    }

    fn free_one(&self) {
        let taken = self.lock();
        let waiting = taken
            .values()
            .filter_map(|pace| Some((pace.waits()?, pace)));
        if let Some((_, longest)) = waiting.min_by_key(|(waits, _)| *waits) {
            longest.leave();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pace>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_reads_an_answer_goes_after_those_who_do_nothing() {
        let seats = Seats::new(2);
        let (reads, idle) = (seats.take().await, seats.take().await);
        let start = Instant::now();
        for (seat, since) in [(&reads, start), (&idle, start + LOOK)] {
            assert!(seat.pace.begins());
            seat.pace.answers(since);
        }
        idle.pace.is_written(start + LOOK);
        seats.free_one();
        assert!(!idle.pace.begins(), "it has to leave");
        seats.free_one();
        assert!(!reads.pace.leave(), "now there is nobody else");
    }
}
