//! What can go wrong, by codes that stay as they are.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use worker_sdk::ErrorKind;

/// The table of codes, which the README and the OpenAPI document repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    MalformedJson,
    BadQuery,
    Unauthorized,
    NotFound,
    NoClient,
    MethodNotAllowed,
    SlowRequest,
    Conflict,
    UidTaken,
    TooLarge,
    ContentType,
    InvalidBody,
    InvalidName,
    InvalidClientId,
    InvalidClose,
    InvalidSession,
    InvalidTarget,
    Busy,
    Internal,
    Refused,
    NatsUnavailable,
    Timeout,
    Skipped,
}

impl Code {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 23] = [
        Self::MalformedJson,
        Self::BadQuery,
        Self::Unauthorized,
        Self::NotFound,
        Self::NoClient,
        Self::MethodNotAllowed,
        Self::SlowRequest,
        Self::Conflict,
        Self::UidTaken,
        Self::TooLarge,
        Self::ContentType,
        Self::InvalidBody,
        Self::InvalidName,
        Self::InvalidClientId,
        Self::InvalidClose,
        Self::InvalidSession,
        Self::InvalidTarget,
        Self::Busy,
        Self::Internal,
        Self::Refused,
        Self::NatsUnavailable,
        Self::Timeout,
        Self::Skipped,
    ];

    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MalformedJson => ("malformed_json", 400, "the body is not a JSON object"),
            Self::BadQuery => (
                "bad_query",
                400,
                "the query string, or the encoding of the path, is not right",
            ),
            Self::Unauthorized => ("unauthorized", 401, "no bearer token, or an unknown one"),
            Self::NotFound => ("not_found", 404, "there is no such path"),
            Self::NoClient => ("no_client", 404, "the client is not there, or not any more"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                405,
                "commands are POST, queries are GET",
            ),
            Self::SlowRequest => (
                "slow_request",
                408,
                "the body did not arrive in the time of a request",
            ),
            Self::Conflict => (
                "conflict",
                409,
                "the session has another version by now; read it again",
            ),
            Self::UidTaken => (
                "uid_taken",
                409,
                "another client has the uid, or took it at the same time",
            ),
            Self::TooLarge => (
                "too_large",
                413,
                "the body or the answer is over its limit, or the message over that of NATS",
            ),
            Self::ContentType => (
                "content_type",
                415,
                "a body needs `Content-Type: application/json`",
            ),
            Self::InvalidBody => (
                "invalid_body",
                422,
                "a field is missing, unknown or of the wrong sort",
            ),
            Self::InvalidName => (
                "invalid_name",
                422,
                "a uid or group name is empty or over 1024 bytes",
            ),
            Self::InvalidClientId => (
                "invalid_client_id",
                422,
                "a client id is 20 digits from 0-9 and a-f",
            ),
            Self::InvalidClose => (
                "invalid_close",
                422,
                "a close code is 1000 or 3000 to 4999, a reason at most 123 bytes",
            ),
            Self::InvalidSession => (
                "invalid_session",
                422,
                "a session is over its limits, or not an object",
            ),
            Self::InvalidTarget => ("invalid_target", 422, "this can be done to one client only"),
            Self::Busy => (
                "busy",
                429,
                "as many requests as may be at once are at work; try again",
            ),
            Self::Internal => ("internal", 500, "a bug; the log says more"),
            Self::Refused => (
                "refused",
                502,
                "a gateway says that it cannot do it; it may be older than this program",
            ),
            Self::NatsUnavailable => (
                "nats_unavailable",
                503,
                "there is no connection to NATS at the moment; nothing was done",
            ),
            Self::Timeout => (
                "timeout",
                504,
                "gateways did not answer in time, or NATS went away meanwhile; it may have been done in part",
            ),
            Self::Skipped => (
                "skipped",
                504,
                "of a batch: not done, because the time was over before its turn",
            ),
        }
    }

    /// How it stands in an answer.
    pub(crate) const fn name(self) -> &'static str {
        self.row().0
    }

    pub(crate) const fn status(self) -> u16 {
        self.row().1
    }

    pub(crate) const fn means(self) -> &'static str {
        self.row().2
    }
}

/// One thing that went wrong, as the caller is told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The one shape of every error.
    pub(crate) fn body(&self) -> Value {
        json!({"error": {"code": self.code.name(), "message": self.message}})
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::new(code, code.means())
    }
}

impl From<worker_sdk::Error> for Failure {
    fn from(error: worker_sdk::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidName => Code::InvalidName,
            ErrorKind::InvalidClose => Code::InvalidClose,
            ErrorKind::Session => Code::InvalidSession,
            ErrorKind::TooLarge => Code::TooLarge,
            // The outbox fills only while NATS is away or does not keep up.
            ErrorKind::Full | ErrorKind::Closed | ErrorKind::Unreachable => Code::NatsUnavailable,
            ErrorKind::Timeout => Code::Timeout,
            ErrorKind::Conflict => Code::Conflict,
            ErrorKind::InvalidTarget => Code::InvalidTarget,
            ErrorKind::Refused => Code::Refused,
            _ => Code::Internal,
        };
        if code == Code::Internal {
            tracing::error!(?error, "a call failed in a way that it should not");
            return code.into();
        }
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        Self::new(code, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).expect("a status code");
        let mut response =
            (status, axum::body::Body::from(self.body().to_string())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        match self.code {
            Code::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            Code::Busy | Code::NatsUnavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves the promise to those who branch on codes: this table only ever grows.
    #[test]
    fn codes_and_their_statuses_stay_as_they_are() {
        let table: Vec<_> = Code::ALL.iter().map(|c| (c.name(), c.status())).collect();
        let promised = [
            ("malformed_json", 400),
            ("bad_query", 400),
            ("unauthorized", 401),
            ("not_found", 404),
            ("no_client", 404),
            ("method_not_allowed", 405),
            ("slow_request", 408),
            ("conflict", 409),
            ("uid_taken", 409),
            ("too_large", 413),
            ("content_type", 415),
            ("invalid_body", 422),
            ("invalid_name", 422),
            ("invalid_client_id", 422),
            ("invalid_close", 422),
            ("invalid_session", 422),
            ("invalid_target", 422),
            ("busy", 429),
            ("internal", 500),
            ("refused", 502),
            ("nats_unavailable", 503),
            ("timeout", 504),
            ("skipped", 504),
        ];
        assert_eq!(table, promised);
    }

    /// Proves that the README's table is this one.
    #[test]
    fn the_readme_has_the_table_of_codes() {
        let readme = include_str!("../README.md");
        let rows: Vec<_> = readme
            .lines()
            .skip_while(|line| *line != "| code | status | means |")
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        let expected: Vec<_> = Code::ALL
            .iter()
            .map(|c| format!("| `{}` | {} | {} |", c.name(), c.status(), c.means()))
            .collect();
        assert_eq!(rows, expected);
    }
}
