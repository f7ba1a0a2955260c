//! Filters: which clients a list has.

use ciborium::Value;
use serde::Serialize;
use wire::{Group, Session, Uid, filter::MAX_WHERE, session::SessionMap};

use crate::{Error, ErrorKind};

/// Most bytes of names in one question: what any NATS server takes that a gateway can work with.
const MOST_BYTES: usize = 32 * 1024;

/// Which clients a [list](crate::Target::list) has: those for whom everything holds that is said
/// here. Gateways do the choosing, so what is not wanted does not travel.
///
/// What makes no sense is an error when the list is read: a name that cannot be one
/// ([`ErrorKind::InvalidName`]), more than 1024 uids or groups ([`ErrorKind::TooLarge`]), a session
/// value that is a list or a map, or more than 16 keys ([`ErrorKind::Session`]).
#[derive(Debug, Clone, Default)]
#[must_use = "a filter does nothing by itself"]
pub struct Filter {
    wire: wire::Filter,
    session: SessionMap,
    /// The first thing that made no sense.
    wrong: Option<(ErrorKind, String)>,
}

impl Filter {
    /// Lets everybody through.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only clients of one of these uids; nobody, if there is none.
    pub fn uids<N: AsRef<str>>(mut self, uids: impl IntoIterator<Item = N>) -> Self {
        let uids = uids.into_iter().map(|uid| Uid::new(uid.as_ref()));
        match few(uids) {
            Ok(uids) => self.wire.uids = Some(uids),
            Err(wrong) => self.note(wrong),
        }
        self
    }

    /// Only clients that are in at least one of these groups; nobody, if there is none.
    pub fn groups<N: AsRef<str>>(mut self, groups: impl IntoIterator<Item = N>) -> Self {
        let groups = groups.into_iter().map(|group| Group::new(group.as_ref()));
        match few(groups) {
            Ok(groups) => self.wire.groups = Some(groups),
            Err(wrong) => self.note(wrong),
        }
        self
    }

    /// Only clients that have a uid.
    pub fn with_uid(mut self) -> Self {
        self.wire.bound = Some(true);
        self
    }

    /// Only clients that have no uid.
    pub fn without_uid(mut self) -> Self {
        self.wire.bound = Some(false);
        self
    }

    /// Only clients whose session has this key with this value: a text, a number, bytes, a bool, or
    /// `None` for null. A number is equal to one of its own kind only: 3 is not 3.0.
    pub fn session(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        match Value::serialized(&value) {
            Ok(value) => drop(self.session.insert(key.into(), value)),
            Err(error) => self.note((ErrorKind::Session, error.to_string())),
        }
        self
    }

    /// Names in pieces for a filter each, in order: as many as fit a message of any NATS server.
    pub fn pieces(names: &[String]) -> impl Iterator<Item = &[String]> {
        let mut rest = names;
        std::iter::from_fn(move || {
            let mut bytes = 0;
            let fit = rest.iter().take(MAX_WHERE).take_while(|name| {
                bytes += name.len();
                bytes <= MOST_BYTES
            });
            // what is too long for a name is refused where it is used
            let many = fit.count().max(1).min(rest.len());
            let piece;
            (piece, rest) = rest.split_at(many);
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// The filter as it travels.
    pub(crate) fn checked(self) -> Result<wire::Filter, Error> {
        if let Some((kind, says)) = self.wrong {
            return Err(Error::new(kind, says));
        }
        let not_comparable = |says: String| Error::new(ErrorKind::Session, says);
        let session = Session::from_map(&self.session);
        let filter = wire::Filter {
            session: session.map_err(|e| not_comparable(e.to_string()))?,
            ..self.wire
        };
        let wanted = filter.wanted();
        wanted.map_err(|e| not_comparable(e.to_string()))?;
        Ok(filter)
    }

    fn note(&mut self, wrong: (ErrorKind, String)) {
        self.wrong.get_or_insert(wrong);
    }
}

fn few<T>(
    names: impl Iterator<Item = Result<T, wire::NameError>>,
) -> Result<Vec<T>, (ErrorKind, String)> {
    let names: Result<Vec<T>, _> = names.collect();
    let names = names.map_err(|e| (ErrorKind::InvalidName, e.to_string()))?;
    match names.len() {
        0..=MAX_WHERE => Ok(names),
        n => {
            let says = format!("a filter has at most {MAX_WHERE} uids or groups, not {n}");
            Err((ErrorKind::TooLarge, says))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said_when_the_filter_is_used() {
        let kind = |filter: Filter| filter.checked().expect_err("it makes no sense").kind();
        assert_eq!(kind(Filter::new().uids([""])), ErrorKind::InvalidName);
        assert_eq!(
            kind(Filter::new().groups(["g", ""])),
            ErrorKind::InvalidName
        );
        let many = || (0..=MAX_WHERE).map(|n| n.to_string());
        assert_eq!(kind(Filter::new().uids(many())), ErrorKind::TooLarge);
        assert_eq!(kind(Filter::new().session("k", [1, 2])), ErrorKind::Session);
        let keys = (0..17).fold(Filter::new(), |f, n| f.session(n.to_string(), n));
        assert_eq!(kind(keys), ErrorKind::Session);
        assert!(Filter::new().uids(many().take(MAX_WHERE)).checked().is_ok());
    }

    #[test]
    fn a_piece_has_as_many_names_as_a_message_holds() {
        let sizes = |names: Vec<String>| Filter::pieces(&names).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0; 0]);
        let short = (0..2500).map(|n| n.to_string()).collect();
        assert_eq!(sizes(short), [MAX_WHERE, MAX_WHERE, 2500 - 2 * MAX_WHERE]);
        let long = (0..70).map(|n| format!("{n:0>1024}")).collect();
        assert_eq!(sizes(long), [32, 32, 6]);
        let no_name = ["a".to_owned(), "x".repeat(MOST_BYTES + 1), "b".to_owned()];
        assert_eq!(sizes(no_name.to_vec()), [1, 1, 1]);
    }
}
