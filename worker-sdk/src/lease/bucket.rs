//! The bucket in which the leases of a prefix stand.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{AccountErrorKind, CreateKeyValueError, CreateStreamError, CreateStreamErrorKind},
    kv::{Config, Store},
};
use wire::Prefix;

use crate::{Error, ErrorKind};

/// The bucket has room for thousands of leases, and no more.
const MOST_BYTES: i64 = 1024 * 1024;
const MOST_VALUE: i32 = 256;

/// The bucket of a prefix. A bucket's name has no dots, so `.` is `_-`, and `_` is `__`.
pub(super) fn bucket(prefix: &Prefix) -> String {
    let name = prefix.as_str().replace('_', "__").replace('.', "_-");
    format!("{name}-leases")
}

/// JetStream's status for "not now".
const UNAVAILABLE: usize = 503;

/// The bucket, which is made if it is not there. [`ErrorKind::Timeout`]: it may work later.
pub(super) async fn open_bucket(js: &jetstream::Context, name: &str) -> Result<Store, Error> {
    js.query_account().await.map_err(|error| {
        let none = match error.kind() {
            AccountErrorKind::JetStreamUnavailable => true,
            AccountErrorKind::JetStream(error) => [
                ErrorCode::JETSTREAM_NOT_ENABLED,
                ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
            ]
            .contains(&error.error_code()),
            _ => false,
        };
        let (kind, says) = match none {
            true => (
                ErrorKind::NoJetStream,
                "exclusive timers need JetStream, and this NATS server or account has none; \
                 `nats-server --jetstream`, or `jetstream {}` in its configuration, turns it on",
            ),
            false => (ErrorKind::Timeout, "JetStream does not answer"),
        };
        Error::new(kind, says).with(error)
    })?;
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
        let kind = match refusal(&error) {
            // such as a cluster that has no leader for the moment
            Some(refusal) if refusal.code() != UNAVAILABLE => ErrorKind::Refused,
            _ => ErrorKind::Timeout,
        };
        let says = format!("the JetStream bucket {name} cannot be made");
        Error::new(kind, says).with(error)
    })
}

/// What the server said, if it answered.
fn refusal(error: &CreateKeyValueError) -> Option<jetstream::Error> {
    let source = std::error::Error::source(error)?.downcast_ref::<CreateStreamError>()?;
    match source.kind() {
        CreateStreamErrorKind::JetStream(refusal) => Some(refusal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_buckets_of_their_own() {
        let bucket = |prefix: &str| bucket(&prefix.parse().unwrap());
        assert_eq!(bucket("gatebus"), "gatebus-leases");
        assert_eq!(bucket("a.b"), "a_-b-leases");
        assert_eq!(bucket("a_b"), "a__b-leases");
        assert_eq!(bucket("a_-b"), "a__-b-leases");
    }
}
