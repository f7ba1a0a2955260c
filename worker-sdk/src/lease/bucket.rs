//! The bucket in which the leases of a prefix stand: finding or making it, and whether it can be had.
//!
//! What may pass by itself is waited for. What is refused for good is an error that says what to do.

use std::error::Error as StdError;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{AccountErrorKind, ContextBuilder, CreateStreamError, CreateStreamErrorKind},
    kv::{Config, Store, UpdateErrorKind},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};
use wire::Prefix;

use super::{AGAIN, ANSWER};
use crate::{Error, ErrorKind, error, link::Link, weather};

/// The bucket has room for thousands of leases, and no more.
const MOST_BYTES: i64 = 1024 * 1024;
const MOST_VALUE: i32 = 256;
/// No key ever has this revision.
const NEVER: u64 = i64::MAX as u64;

/// What a server says that has no leader for the moment, or is not through with its start.
const PASSING: [ErrorCode; 3] = [
    ErrorCode::CLUSTER_NOT_AVAILABLE,
    ErrorCode::CLUSTER_NOT_LEADER,
    ErrorCode::STREAM_OFFLINE,
];
const NO_JETSTREAM: [ErrorCode; 2] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
];
const NO_ROOM: [ErrorCode; 6] = [
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::CLUSTER_NO_PEERS,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_STORE_FAILED,
];

/// The bucket, as one process has it.
pub(super) struct Bucket {
    js: jetstream::Context,
    name: String,
    pub(super) store: Store,
}

impl Bucket {
    /// The bucket of the link's prefix, with this key in it that can be read and written. Waits while
    /// NATS or JetStream does not answer, and says so once.
    pub(super) async fn open(
        link: &Link,
        nats: &async_nats::Client,
        key: &str,
    ) -> Result<Self, Error> {
        let js = ContextBuilder::new().timeout(ANSWER).build(nats.clone());
        let name = name(link.subjects.prefix());
        let mut complaints = link.weather.complaints();
        let mut told = false;
        loop {
            let opened = tokio::select! {
                biased;
                what = refused(&mut complaints, &name, key) => return Err(forbidden(&what, &name)),
                opened = try_open(&js, &name, key) => opened,
            };
            match opened {
                Ok(store) => return Ok(Self { js, name, store }),
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    if !std::mem::replace(&mut told, true) {
                        let (bucket, error) = (&name, error::chain(&error));
                        tracing::warn!(bucket, error, "JetStream does not answer, trying on");
                    }
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds or makes it once more: it may have been deleted.
    pub(super) async fn reopen(&mut self) {
        if let Ok(store) = find_or_make(&self.js, &self.name).await {
            self.store = store;
        }
    }
}

/// The bucket of a prefix. A bucket's name has no dots, so `.` is `_-`, and `_` is `__`.
fn name(prefix: &Prefix) -> String {
    let name = prefix.as_str().replace('_', "__").replace('.', "_-");
    format!("{name}-leases")
}

/// [`ErrorKind::Timeout`]: it may work later.
async fn try_open(js: &jetstream::Context, name: &str, key: &str) -> Result<Store, Error> {
    let store = find_or_make(js, name).await?;
    let cannot = |what: &str, error: &(dyn StdError + 'static)| {
        let says = format!("the key {key} of the JetStream bucket {name} cannot be {what}");
        judged(says, name, error)
    };
    if let Err(error) = store.entry(key).await {
        return Err(cannot("read", &error).with(error));
    }
    // It is not written, because no key has this revision: but whoever may not write is told so.
    match store.update(key, "".into(), NEVER).await {
        Err(error) if error.kind() != UpdateErrorKind::WrongLastRevision => {
            Err(cannot("written", &error).with(error))
        }
        _ => Ok(store),
    }
}

async fn find_or_make(js: &jetstream::Context, name: &str) -> Result<Store, Error> {
    if let Err(error) = js.query_account().await {
        let missing = error.kind() == AccountErrorKind::JetStreamUnavailable;
        return Err(match missing {
            true => no_jetstream(),
            false => judged("JetStream does not answer".into(), name, &error),
        }
        .with(error));
    }
    if let Ok(store) = js.get_key_value(name).await {
        return Ok(store);
    }
    let config = Config {
        bucket: name.to_owned(),
        description: "Gatebus: who runs which exclusive timer".to_owned(),
        history: 1,
        max_bytes: MOST_BYTES,
        max_value_size: MOST_VALUE,
        ..Config::default()
    };
    js.create_key_value(config).await.map_err(|error| {
        let says = format!("the JetStream bucket {name} cannot be made");
        judged(says, name, &error).with(error)
    })
}

/// What a failure is, by what the server said if it answered.
fn judged(says: String, bucket: &str, error: &(dyn StdError + 'static)) -> Error {
    let Some(code) = refusal(error) else {
        return Error::new(ErrorKind::Timeout, says);
    };
    if PASSING.contains(&code) {
        Error::new(ErrorKind::Timeout, says)
    } else if NO_JETSTREAM.contains(&code) {
        no_jetstream()
    } else if NO_ROOM.contains(&code) {
        let says = format!(
            "{says}: there is no room for its 1 MiB of file storage; give the NATS server or account \
             more (`max_file_store`, or the account's `max_file`), or delete streams"
        );
        Error::new(ErrorKind::Refused, says)
    } else {
        let says = format!(
            "{says}; an exclusive timer needs it: make it yourself, such as with \
             `nats kv add {bucket} --history 1`, or see what the server says"
        );
        Error::new(ErrorKind::Refused, says)
    }
}

fn no_jetstream() -> Error {
    Error::new(
        ErrorKind::NoJetStream,
        "exclusive timers need JetStream, and this NATS server or account has none; \
         `nats-server --jetstream`, or `jetstream {}` in its configuration, turns it on",
    )
}

fn forbidden(what: &str, bucket: &str) -> Error {
    let says = format!(
        "NATS does not let this user have exclusive timers: it may not {what}; allow it to publish to \
         $JS.API.INFO, $JS.API.STREAM.INFO.KV_{bucket}, $JS.API.STREAM.CREATE.KV_{bucket}, \
         $JS.API.DIRECT.GET.KV_{bucket}.> and $KV.{bucket}.>, and to subscribe to _INBOX.>"
    );
    Error::new(ErrorKind::Refused, says)
}

/// Resolves when the server says that something is not allowed without which there is no lease.
async fn refused(complaints: &mut Receiver<String>, bucket: &str, key: &str) -> String {
    loop {
        match complaints.recv().await {
            Ok(says) => {
                if let Some(what) = violation(&says, bucket, key) {
                    return what;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// What a complaint says that may not be done, if it is about a lease.
fn violation(says: &str, bucket: &str, key: &str) -> Option<String> {
    let (verb, subject) = weather::violation(says)?;
    let (api, own) = ("$JS.API.", format!("$KV.{bucket}.{key}"));
    let ours = match verb {
        // Those of other keys stand behind the bucket's name.
        "Publish to" => {
            subject == own
                || subject.starts_with(api)
                    && (!subject.contains("$KV.") || subject.ends_with(&own))
        }
        "Subscription to" => subject.starts_with("_INBOX."),
        _ => false,
    };
    let verb = if verb == "Publish to" {
        "publish"
    } else {
        "subscribe"
    };
    ours.then(|| format!("{verb} to {subject}"))
}

/// What the server said, if it answered.
fn refusal(error: &(dyn StdError + 'static)) -> Option<ErrorCode> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<jetstream::Error>() {
            return Some(refusal.error_code());
        }
        // These keep it in their kind.
        if let Some(error) = error.downcast_ref::<CreateStreamError>()
            && let CreateStreamErrorKind::JetStream(refusal) = error.kind()
        {
            return Some(refusal.error_code());
        }
        if let Some(error) = error.downcast_ref::<jetstream::context::AccountError>()
            && let AccountErrorKind::JetStream(refusal) = error.kind()
        {
            return Some(refusal.error_code());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_buckets_of_their_own() {
        let bucket = |prefix: &str| name(&prefix.parse().unwrap());
        assert_eq!(bucket("gatebus"), "gatebus-leases");
        assert_eq!(bucket("a.b"), "a_-b-leases");
        assert_eq!(bucket("a_b"), "a__b-leases");
        assert_eq!(bucket("a_-b"), "a__-b-leases");
    }

    #[test]
    fn a_complaint_counts_if_it_is_about_this_lease() {
        let about = |verb: &str, subject: &str| {
            let says = format!("nats: Permissions Violation for {verb} \"{subject}\"");
            violation(&says, "p-leases", "chat.job")
        };
        for subject in [
            "$JS.API.INFO",
            "$JS.API.STREAM.CREATE.KV_p-leases",
            "$JS.API.DIRECT.GET.KV_p-leases.$KV.p-leases.chat.job",
            "$KV.p-leases.chat.job",
        ] {
            let what = format!("publish to {subject}");
            assert_eq!(about("Publish to", subject), Some(what));
        }
        for subject in [
            "$KV.p-leases.chat.other",
            "$JS.API.DIRECT.GET.KV_p-leases.$KV.p-leases.chat.other",
            "p.all",
        ] {
            assert_eq!(about("Publish to", subject), None);
        }
        let inbox = about("Subscription to", "_INBOX.abc.*");
        assert_eq!(inbox.as_deref(), Some("subscribe to _INBOX.abc.*"));
        // Only a hint comes from there.
        assert_eq!(about("Subscription to", "$KV.p-leases.chat.job"), None);
        assert_eq!(
            violation("nats: something else", "p-leases", "chat.job"),
            None
        );
    }
}
