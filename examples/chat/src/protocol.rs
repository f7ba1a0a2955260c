//! What the page and the worker say to each other: JSON, one object a text frame.
//!
//! Whoever knows GatewayWorker's chat knows it already. From the page:
//!
//! ```json
//! {"type":"login","client_name":"Ada","room_id":"lobby"}
//! {"type":"say","content":"hello","ref":"4f1d…"}
//! {"type":"whisper","to_client_id":"0a1b2c3d4e5f00c0ffee","content":"psst","ref":"4f1d…"}
//! {"type":"users"}
//! {"type":"ping"}
//! {"type":"pong"}
//! ```
//!
//! `login` enters a room, and once more moves to another or takes another name. `ref` is any short
//! text the page chooses; it comes back with the message, so that the page knows its own again, and
//! one that came twice. `ping` is answered with `pong`, and `pong` with nothing.
//!
//! From the worker, each with `by` (the worker's id) and `time` (milliseconds since 1970):
//!
//! ```json
//! {"type":"login","client_id":"…","client_name":"Ada","room_id":"lobby"}
//! {"type":"login","client_id":"…","client_name":"Ada","room_id":"lobby","client_list":{"…":"Ada"},"total":1}
//! {"type":"logout","from_client_id":"…","from_client_name":"Ada","room_id":"lobby"}
//! {"type":"say","from_client_id":"…","from_client_name":"Ada","room_id":"lobby","content":"hello","ref":"4f1d…"}
//! {"type":"whisper","from_client_id":"…","from_client_name":"Ada","to_client_id":"…","content":"psst","ref":"4f1d…"}
//! {"type":"users","client_list":{"…":"Ada"},"total":1}
//! {"type":"gateway_lost","gateway":"0a1b2c3d4e5f"}
//! {"type":"pong"}
//! {"type":"error","code":"bad_name","message":"Please give a name.","ref":"4f1d…"}
//! ```
//!
//! The `login` with a `client_list` is the answer to who logged in; the others in the room get the
//! one without. A list names at most [`LISTED`] people, `total` counts all. The codes of errors are
//! [`Code`]'s variants in snake case.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use worker_sdk::{ClientId, GatewayId, Message};

use crate::limits;

/// Most people in one list.
pub(crate) const LISTED: usize = 500;
/// Longest `ref`, in bytes.
const REF: usize = 64;

/// What a page asks for, checked.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Login { name: String, room: String },
    Say(Words),
    Whisper { to: ClientId, words: Words },
    Users,
    Ping,
    Pong,
}

/// What somebody says.
#[derive(Debug, PartialEq)]
pub(crate) struct Words {
    pub(crate) content: String,
    pub(crate) reference: Option<String>,
}

/// Why a request is not done, in words for the person.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) reference: Option<String>,
}

/// Why a request is not done, for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// Not one of the requests above.
    BadRequest,
    /// The name of a login.
    BadName,
    /// The room of a login.
    BadRoom,
    /// The content of a message.
    BadContent,
    /// Only after a login.
    LoginFirst,
    /// The person is gone.
    NotHere,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Raw {
    Login {
        client_name: String,
        room_id: String,
    },
    Say(RawWords),
    Whisper {
        to_client_id: String,
        #[serde(flatten)]
        words: RawWords,
    },
    Users,
    Ping,
    Pong,
}

#[derive(Deserialize)]
struct RawWords {
    content: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

impl Request {
    /// Reads and checks what a client sent; takes anything at all.
    pub(crate) fn read(message: &Message) -> Result<Self, Refusal> {
        let raw = message.json().map_err(|_| {
            Refusal::new(
                Code::BadRequest,
                "That is not something this chat understands.",
            )
        })?;
        Ok(match raw {
            Raw::Login {
                client_name,
                room_id,
            } => Self::Login {
                name: limits::line("name", &client_name, limits::NAME)
                    .map_err(|why| Refusal::new(Code::BadName, why))?,
                room: limits::line("room", &room_id, limits::ROOM)
                    .map_err(|why| Refusal::new(Code::BadRoom, why))?,
            },
            Raw::Say(words) => Self::Say(words.check()?),
            Raw::Whisper {
                to_client_id,
                words,
            } => {
                let words = words.check()?;
                match to_client_id.parse() {
                    Ok(to) => Self::Whisper { to, words },
                    Err(_) => return Err(Refusal::not_here().about(words.reference)),
                }
            }
            Raw::Users => Self::Users,
            Raw::Ping => Self::Ping,
            Raw::Pong => Self::Pong,
        })
    }
}

impl RawWords {
    fn check(self) -> Result<Words, Refusal> {
        if self.reference.as_ref().is_some_and(|r| r.len() > REF) {
            return Err(Refusal::new(
                Code::BadRequest,
                format!("A ref has at most {REF} bytes."),
            ));
        }
        match limits::content(&self.content) {
            Ok(content) => Ok(Words {
                content,
                reference: self.reference,
            }),
            Err(why) => Err(Refusal::new(Code::BadContent, why).about(self.reference)),
        }
    }
}

impl Refusal {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reference: None,
        }
    }

    /// Nobody is in a room yet.
    pub(crate) fn login_first() -> Self {
        Self::new(Code::LoginFirst, "Please log in first.")
    }

    /// Whoever it was for is gone.
    pub(crate) fn not_here() -> Self {
        Self::new(Code::NotHere, "That person is not here any more.")
    }

    /// The same, about the message with this `ref`.
    pub(crate) fn about(self, reference: Option<String>) -> Self {
        Self { reference, ..self }
    }
}

/// What the worker says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Answer<'a> {
    Login {
        client_id: ClientId,
        client_name: &'a str,
        room_id: &'a str,
        #[serde(flatten)]
        people: Option<People>,
    },
    Logout {
        from_client_id: ClientId,
        from_client_name: &'a str,
        room_id: &'a str,
    },
    Say {
        from_client_id: ClientId,
        from_client_name: &'a str,
        room_id: &'a str,
        content: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
    },
    Whisper {
        from_client_id: ClientId,
        from_client_name: &'a str,
        to_client_id: ClientId,
        content: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
    },
    Users(People),
    GatewayLost {
        gateway: GatewayId,
    },
    Pong,
    Error {
        code: Code,
        message: &'a str,
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
    },
}

/// The people of a room.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct People {
    client_list: BTreeMap<String, String>,
    total: usize,
}

impl People {
    /// The list of these people; past [`LISTED`] they are only counted.
    pub(crate) fn new(names: impl Iterator<Item = (ClientId, String)>) -> Self {
        let mut people = Self {
            client_list: BTreeMap::new(),
            total: 0,
        };
        for (id, name) in names {
            people.total += 1;
            if people.client_list.len() < LISTED {
                people.client_list.insert(id.to_string(), name);
            }
        }
        people
    }
}

impl Answer<'_> {
    /// The message, with the name of the worker that says it and the time.
    pub(crate) fn by(&self, worker: &str) -> Message {
        #[derive(Serialize)]
        struct Signed<'a> {
            #[serde(flatten)]
            answer: &'a Answer<'a>,
            by: &'a str,
            time: u64,
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Message::json_of(&Signed {
            answer: self,
            by: worker,
            time,
        })
        .expect("texts and numbers have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Refusal> {
        Request::read(&Message::from(text))
    }

    #[test]
    fn requests_are_read_and_checked() {
        assert_eq!(
            read(r#"{"type":"login","client_name":" Ada ","room_id":"1","later":true}"#),
            Ok(Request::Login {
                name: "Ada".into(),
                room: "1".into()
            })
        );
        let words = Words {
            content: "psst".into(),
            reference: Some("r1".into()),
        };
        let to = "0a1b2c3d4e5f00c0ffee";
        assert_eq!(
            read(&format!(
                r#"{{"type":"whisper","to_client_id":"{to}","content":"psst","ref":"r1"}}"#
            )),
            Ok(Request::Whisper {
                to: to.parse().unwrap(),
                words
            })
        );
        assert_eq!(read(r#"{"type":"users"}"#), Ok(Request::Users));
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_code() {
        let code = |text: &str| read(text).unwrap_err().code;
        for text in [
            "",
            "hello",
            "[]",
            "null",
            "{}",
            r#"{"type":"root"}"#,
            r#"{"type":"say"}"#,
            r#"{"type":"say","content":7}"#,
            r#"{"type":"login","client_name":"Ada"}"#,
        ] {
            assert_eq!(code(text), Code::BadRequest, "{text}");
        }
        let long = "x".repeat(REF + 1);
        assert_eq!(
            code(&format!(r#"{{"type":"say","content":"a","ref":"{long}"}}"#)),
            Code::BadRequest
        );
        assert_eq!(
            code(r#"{"type":"login","client_name":"","room_id":"1"}"#),
            Code::BadName
        );
        assert_eq!(
            code(r#"{"type":"login","client_name":"Ada","room_id":"\n"}"#),
            Code::BadRoom
        );
        assert_eq!(
            code(r#"{"type":"whisper","to_client_id":"*","content":"a"}"#),
            Code::NotHere
        );
        assert_eq!(
            Request::read(&Message::from(vec![0xff, 0]))
                .unwrap_err()
                .code,
            Code::BadRequest
        );
        let refusal = read(r#"{"type":"say","content":" ","ref":"r9"}"#).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.reference.as_deref()),
            (Code::BadContent, Some("r9"))
        );
    }

    #[test]
    fn an_answer_says_who_gave_it_and_a_list_has_an_end() {
        let id = |n: u32| format!("0a1b2c3d4e5f{n:08x}").parse::<ClientId>().unwrap();
        let people = People::new((0..600).map(|n| (id(n), format!("guest {n}"))));
        let answer = Answer::Login {
            client_id: id(1),
            client_name: "Ada",
            room_id: "lobby",
            people: Some(people),
        };
        let json: serde_json::Value = answer.by("3f9d").json().unwrap();
        assert_eq!(json["type"], "login");
        assert_eq!(json["by"], "3f9d");
        assert!(json["time"].as_u64().unwrap() > 0);
        assert_eq!(json["total"], 600);
        assert_eq!(json["client_list"].as_object().unwrap().len(), LISTED);

        let notice = Answer::Login {
            client_id: id(1),
            client_name: "Ada",
            room_id: "lobby",
            people: None,
        };
        let json: serde_json::Value = notice.by("3f9d").json().unwrap();
        assert_eq!(json.get("client_list"), None);
    }
}
