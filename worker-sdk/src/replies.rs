//! Replies: who waits for which answer.
//!
//! One wildcard inbox serves all requests of a process. async-nats has `request()`, but a request
//! that is never answered stays in its table for ever; here a waiting call that is dropped takes its
//! entry along.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use wire::Answer;

/// How many answers to one request may wait to be read; more are dropped, and whoever sent them is
/// then reported as missing.
const CAPACITY: usize = 4096;

/// Something that came to a reply subject.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A gateway answered.
    Answer(Answer),
    /// NATS says that nobody listens.
    Nobody,
    /// Our own message came back: everything before it has been through the server.
    Echo,
}

/// All calls that wait.
pub(crate) struct Replies {
    /// The inbox, without the last token.
    inbox: String,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    calls: HashMap<u64, mpsc::Sender<Reply>>,
}

/// One call that waits; dropped, it is forgotten.
pub(crate) struct Call {
    number: u64,
    answers: mpsc::Receiver<Reply>,
    replies: Arc<Replies>,
}

impl Replies {
    pub(crate) fn new(inbox: String) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            waiting: Mutex::default(),
        })
    }

    /// What to subscribe to.
    pub(crate) fn subject(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// Begins to wait.
    pub(crate) fn open(self: &Arc<Self>) -> Call {
        let (sender, answers) = mpsc::channel(CAPACITY);
        let mut waiting = self.lock();
        waiting.next += 1;
        let number = waiting.next;
        waiting.calls.insert(number, sender);
        Call {
            number,
            answers,
            replies: self.clone(),
        }
    }

    /// Hands over what came to `subject`; a call that nobody waits for any more is ignored.
    pub(crate) fn deliver(&self, subject: &str, nobody: bool, payload: &[u8]) {
        let Ok(number) = wire::subject::last_token(subject).parse() else {
            return;
        };
        let reply = match (nobody, payload) {
            (true, _) => Reply::Nobody,
            (false, []) => Reply::Echo,
            (false, payload) => match wire::decode(payload) {
                Ok(answer) => Reply::Answer(answer),
                Err(error) => {
                    tracing::debug!(%error, "an answer does not decode");
                    return;
                }
            },
        };
        if let Some(call) = self.lock().calls.get(&number) {
            // Full or gone: see CAPACITY.
            let _ = call.try_send(reply);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// The reply subject to publish with.
    pub(crate) fn subject(&self) -> String {
        format!("{}.{}", self.replies.inbox, self.number)
    }

    /// The next answer; never `None` while the call is open. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Reply> {
        self.answers.recv().await
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.replies.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use wire::GatewayId;

    use super::*;

    #[tokio::test]
    async fn answers_reach_the_call_they_are_for_and_a_dropped_call_leaves_nothing_behind() {
        let replies = Replies::new("_INBOX.x".into());
        let (mut one, two) = (replies.open(), replies.open());
        let two_subject = two.subject();
        drop(two);

        let answer = wire::encode(&Answer::count(GatewayId::from_bytes([1; 6]), 3));
        replies.deliver(&two_subject, false, &answer);
        replies.deliver(&one.subject(), false, b"not an answer");
        replies.deliver(&one.subject(), false, &answer);
        replies.deliver(&one.subject(), true, b"");
        assert!(matches!(one.next().await, Some(Reply::Answer(a)) if a.count == 3));
        assert!(matches!(one.next().await, Some(Reply::Nobody)));

        drop(one);
        assert!(replies.lock().calls.is_empty());
    }
}
