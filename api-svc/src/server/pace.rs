//! How long a caller may dawdle: with nothing, with a head, with reading an answer.
//!
//! What a request takes while it is at work is not the caller's doing, and has a limit of its own.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The limits of a caller.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Patience {
    pub idle_timeout: Duration,
    pub head_timeout: Duration,
    pub answer_timeout: Duration,
}

/// Why a connection was closed that would have liked to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No request came.
    Idle,
    /// A head began, and did not end.
    SlowHead,
    /// An answer was not read.
    SlowAnswer,
    /// It made room for another.
    Full,
}

impl Reason {
    pub(crate) const ALL: [Self; 4] = [Self::Idle, Self::SlowHead, Self::SlowAnswer, Self::Full];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::SlowAnswer => "slow_answer",
            Self::Full => "full",
        }
    }
}

/// What one connection waits for.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    /// It has to leave.
    told: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when there is an answer that the caller has not taken all of.
    unread: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No byte of a request has come since then.
    Idle(Instant),
    /// A head began then.
    Head(Instant),
    /// A request is at work.
    Working,
    /// Another gets its place.
    Leaving,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Idle(now),
                unread: None,
            }),
            told: Notify::new(),
        }
    }

    /// Something has come.
    pub(crate) fn heard(&self, now: Instant) {
        let mut state = self.lock();
        if let Phase::Idle(_) = state.phase {
            state.phase = Phase::Head(now);
        }
    }

    /// A head is complete. False: too late, the connection ends, and nothing may be done any more.
    #[must_use]
    pub(crate) fn begins(&self) -> bool {
        let mut state = self.lock();
        let stays = !matches!(state.phase, Phase::Leaving);
        if stays {
            state.phase = Phase::Working;
        }
        stays
    }

    /// The answer is there, and now it is the caller's turn.
    pub(crate) fn answers(&self, now: Instant) {
        let mut state = self.lock();
        if let Phase::Working = state.phase {
            state.phase = Phase::Idle(now);
            state.unread.get_or_insert(now);
        }
    }

    /// The system takes no more of the answer for the moment.
    pub(crate) fn is_blocked(&self, now: Instant) {
        self.lock().unread.get_or_insert(now);
    }

    /// The system has taken everything.
    pub(crate) fn is_written(&self, now: Instant) {
        let mut state = self.lock();
        if state.unread.take().is_some()
            && let Phase::Idle(since) = &mut state.phase
        {
            *since = now;
        }
    }

    /// Whether its caller is reading an answer, and since when it waits for it: the least of them all
    /// is to go first. `None` while a request is at work.
    pub(crate) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        match (state.phase, state.unread) {
            (Phase::Idle(_) | Phase::Head(_), Some(since)) => Some((true, since)),
            (Phase::Idle(since) | Phase::Head(since), None) => Some((false, since)),
            (Phase::Working | Phase::Leaving, _) => None,
        }
    }

    /// Makes it leave; false if a request is at work meanwhile.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.lock();
        let free = matches!(state.phase, Phase::Idle(_) | Phase::Head(_));
        if free {
            state.phase = Phase::Leaving;
            self.told.notify_one();
        }
        free
    }

    /// Waits until the caller has dawdled for too long, or the connection has to leave.
    pub(crate) async fn is_over(&self, patience: &Patience) -> Reason {
        loop {
            let until = match self.verdict(Instant::now(), patience) {
                Ok(until) => until,
                Err(reason) => return reason,
            };
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.told.notified() => {}
            }
        }
    }

    /// When to look again, or that it is over.
    fn verdict(&self, now: Instant, patience: &Patience) -> Result<Instant, Reason> {
        let Patience {
            idle_timeout,
            head_timeout,
            answer_timeout,
        } = *patience;
        // Nobody says when a phase begins: the one with the shortest limit could begin right now.
        let mut next = now + idle_timeout.min(head_timeout).min(answer_timeout);
        let mut limit = |until: Instant, reason| {
            next = next.min(until);
            if until <= now { Err(reason) } else { Ok(()) }
        };
        let state = self.lock();
        if let Some(since) = state.unread {
            limit(since + answer_timeout, Reason::SlowAnswer)?;
        }
        match state.phase {
            Phase::Idle(since) => limit(since + idle_timeout, Reason::Idle)?,
            Phase::Head(since) => limit(since + head_timeout, Reason::SlowHead)?,
            Phase::Working => {}
            Phase::Leaving => return Err(Reason::Full),
        }
        Ok(next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle_timeout: Duration::from_secs(60),
        head_timeout: Duration::from_secs(10),
        answer_timeout: Duration::from_secs(30),
    };

    fn after(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn each_phase_has_its_own_limit_and_work_has_none() {
        let start = Instant::now();
        let at = |secs| after(start, secs);
        let pace = Pace::new(start);
        assert_eq!(pace.verdict(at(59), &PATIENCE), Ok(at(60)));
        assert_eq!(pace.verdict(at(60), &PATIENCE), Err(Reason::Idle));
        pace.heard(at(59));
        pace.heard(at(68));
        assert_eq!(
            pace.verdict(at(68), &PATIENCE),
            Ok(at(69)),
            "its first byte counts"
        );
        assert_eq!(pace.verdict(at(69), &PATIENCE), Err(Reason::SlowHead));
        assert!(pace.begins());
        assert_eq!(pace.verdict(at(1000), &PATIENCE), Ok(at(1010)));
        pace.answers(at(1000));
        pace.is_blocked(at(1000));
        pace.is_blocked(at(1020));
        assert_eq!(pace.verdict(at(1029), &PATIENCE), Ok(at(1030)));
        assert_eq!(pace.verdict(at(1030), &PATIENCE), Err(Reason::SlowAnswer));
        pace.is_written(at(1029));
        assert_eq!(pace.verdict(at(1088), &PATIENCE), Ok(at(1089)));
        assert_eq!(pace.verdict(at(1089), &PATIENCE), Err(Reason::Idle));
    }

    #[test]
    fn an_answer_that_is_not_read_is_not_hidden_by_the_next_request() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert!(pace.begins());
        pace.answers(start);
        pace.is_blocked(start);
        assert!(pace.begins());
        let over = pace.verdict(after(start, 30), &PATIENCE);
        assert_eq!(over, Err(Reason::SlowAnswer));
        assert!(!pace.leave(), "that request is at work all the same");
    }

    #[test]
    fn who_is_at_work_does_not_leave_and_who_leaves_does_not_begin() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert!(pace.begins());
        assert_eq!(pace.waits(), None);
        assert!(!pace.leave());
        pace.answers(start);
        assert_eq!(pace.waits(), Some((true, start)));
        pace.is_written(start);
        assert_eq!(pace.waits(), Some((false, start)));
        assert!(pace.leave());
        assert!(!pace.begins());
        assert!(!pace.leave(), "once is enough");
        assert_eq!(pace.verdict(start, &PATIENCE), Err(Reason::Full));
    }
}
