//! What stands at the key of a lease.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What stands at the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Nobody: it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<String>,
    /// When the last run began, or the key was first written; in milliseconds since 1970.
    pub(super) ran: u64,
}

impl Record {
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_as_the_contract_says() {
        let text = |holder: Option<&str>| {
            let holder = holder.map(str::to_owned);
            String::from_utf8(Record { holder, ran: 7 }.write()).unwrap()
        };
        assert_eq!(text(Some("me")), r#"{"holder":"me","ran":7}"#);
        assert_eq!(text(None), r#"{"ran":7}"#);
        let read = Record::read(br#"{"ran":7,"more":true}"#);
        assert_eq!(
            read,
            Some(Record {
                holder: None,
                ran: 7
            })
        );
        assert_eq!(Record::read(b"rubbish"), None);
    }
}
