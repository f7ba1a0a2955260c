//! Typed sessions: what a gateway keeps as a map is a type of yours in a handler.

use std::marker::PhantomData;

use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};
use wire::{Session, SessionChange, session::SessionMap};

use crate::{Error, ErrorKind};

/// Turns sessions into `S` and back.
pub(crate) struct Codec<S> {
    /// The keys that `S` has from the start. A session lacks those that never changed.
    defaults: SessionMap,
    session: PhantomData<fn() -> S>,
}

impl<S: Serialize + DeserializeOwned + Default> Codec<S> {
    /// A type without a state, such as `()`: nothing is ever encoded.
    const STATELESS: bool = size_of::<S>() == 0;

    pub(crate) fn new() -> Result<Self, Error> {
        let defaults = match Self::STATELESS {
            true => SessionMap::new(),
            false => to_map(&S::default())?,
        };
        Ok(Self {
            defaults,
            session: PhantomData,
        })
    }

    /// Reads a session; keys that it lacks are those of `S::default()`.
    pub(crate) fn decode(&self, session: &Session) -> Result<S, Error> {
        if Self::STATELESS || session.is_empty() {
            return Ok(S::default());
        }
        let mut map = session.to_map().map_err(fault)?;
        for (key, value) in &self.defaults {
            if !map.contains_key(key) {
                map.insert(key.clone(), value.clone());
            }
        }
        from_map(map)
    }

    /// Begins to watch a session for changes.
    pub(crate) fn watch(&self, session: &S) -> Result<Watch<S>, Error> {
        let mut watch = Watch {
            before: Vec::new(),
            good: None,
            spare: Vec::new(),
            session: PhantomData,
        };
        if !Self::STATELESS {
            encode(session, &mut watch.before)?;
        }
        Ok(watch)
    }
}

/// What a session was before the batch, and after the last event that went well.
pub(crate) struct Watch<S> {
    before: Vec<u8>,
    /// `None` while nothing changed.
    good: Option<Vec<u8>>,
    spare: Vec<u8>,
    session: PhantomData<fn() -> S>,
}

impl<S: Serialize + DeserializeOwned + Default> Watch<S> {
    /// An event went well: this is the session now.
    pub(crate) fn commit(&mut self, session: &S) -> Result<(), Error> {
        if Codec::<S>::STATELESS {
            return Ok(());
        }
        self.spare.clear();
        encode(session, &mut self.spare)?;
        if self.spare != *self.good.as_ref().unwrap_or(&self.before) {
            // So large that no gateway would keep it: better known now than at the ack.
            Session::from_map(&read(&self.spare)?).map_err(fault)?;
            self.good = Some(std::mem::take(&mut self.spare));
        }
        Ok(())
    }

    /// An event did not go well: this was the session before it.
    pub(crate) fn restore(&self) -> Result<S, Error> {
        if Codec::<S>::STATELESS {
            return Ok(S::default());
        }
        from_map(read(self.good.as_ref().unwrap_or(&self.before))?)
    }

    /// What is different from before the batch.
    pub(crate) fn change(&self) -> Result<Option<SessionChange>, Error> {
        match &self.good {
            Some(good) if *good != self.before => {
                let change = diff(&read(&self.before)?, read(good)?)?;
                // A hash map may say the same in another order.
                let same = change.set.is_empty() && change.removed.is_empty();
                Ok((!same).then_some(change))
            }
            _ => Ok(None),
        }
    }
}

/// Any value as a session: it must be a map with text keys, or nothing.
pub(crate) fn to_session<T: Serialize + ?Sized>(value: &T) -> Result<Session, Error> {
    Session::from_map(&to_map(value)?).map_err(fault)
}

fn diff(before: &SessionMap, after: SessionMap) -> Result<SessionChange, Error> {
    let removed = before
        .keys()
        .filter(|key| !after.contains_key(*key))
        .cloned()
        .collect();
    let set = after
        .into_iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .collect();
    Ok(SessionChange {
        set: Session::from_map(&set).map_err(fault)?,
        removed,
    })
}

fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), Error> {
    ciborium::into_writer(value, into)
        .map_err(|e| Error::new(ErrorKind::Session, "the session cannot be encoded").with(e))
}

fn read(encoded: &[u8]) -> Result<SessionMap, Error> {
    match wire::decode(encoded).map_err(|e| Error::new(ErrorKind::Session, "a session").with(e))? {
        Some(map) => Ok(map),
        None => Ok(SessionMap::new()),
    }
}

fn to_map<T: Serialize + ?Sized>(value: &T) -> Result<SessionMap, Error> {
    let not_a_map = || {
        Error::new(
            ErrorKind::Session,
            "a session must be a map with text keys, or a struct",
        )
    };
    let value = Value::serialized(value)
        .map_err(|e| Error::new(ErrorKind::Session, "the session cannot be encoded").with(e))?;
    match value {
        Value::Null => Ok(SessionMap::new()),
        Value::Map(pairs) => pairs
            .into_iter()
            .map(|(key, value)| match key {
                Value::Text(key) => Ok((key, value)),
                _ => Err(not_a_map()),
            })
            .collect(),
        _ => Err(not_a_map()),
    }
}

fn from_map<S: DeserializeOwned>(map: SessionMap) -> Result<S, Error> {
    let pairs = map.into_iter().map(|(k, v)| (Value::Text(k), v)).collect();
    Value::Map(pairs).deserialized().map_err(|e| {
        let says = "the client's session does not fit the type that the handlers expect";
        Error::new(ErrorKind::Session, says).with(e)
    })
}

fn fault(error: wire::SessionError) -> Error {
    Error::new(ErrorKind::Session, "not a session").with(error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Login {
        name: String,
        visits: u32,
        room: Option<String>,
    }

    impl Default for Login {
        fn default() -> Self {
            Self {
                name: "guest".into(),
                visits: 0,
                room: None,
            }
        }
    }

    type Free = BTreeMap<String, serde_json::Value>;

    fn keys(change: &SessionChange) -> Vec<String> {
        change.set.to_map().unwrap().into_keys().collect()
    }

    #[test]
    fn only_the_keys_that_changed_travel_and_the_others_keep_their_defaults() {
        let codec = Codec::<Login>::new().unwrap();
        let mut login = codec.decode(&Session::default()).unwrap();
        assert_eq!(login.name, "guest");
        let mut watch = codec.watch(&login).unwrap();
        login.visits = 1;
        watch.commit(&login).unwrap();
        let change = watch.change().unwrap().unwrap();
        assert_eq!(keys(&change), ["visits"]);

        let kept = Session::default()
            .changed(&change.set, &change.removed)
            .unwrap();
        assert_eq!(codec.decode(&kept).unwrap(), login, "`name` is filled in");
    }

    #[test]
    fn an_unchanged_session_does_not_travel() {
        let codec = Codec::<Login>::new().unwrap();
        let mut login = Login::default();
        let mut watch = codec.watch(&login).unwrap();
        watch.commit(&login).unwrap();
        assert_eq!(watch.change().unwrap(), None);
        login.visits = 1;
        watch.commit(&login).unwrap();
        login.visits = 0;
        watch.commit(&login).unwrap();
        assert_eq!(watch.change().unwrap(), None, "there and back");
    }

    #[test]
    fn a_map_that_only_changed_its_order_does_not_travel() {
        #[derive(Default, serde::Serialize, Deserialize)]
        struct Pairs(#[serde(with = "order")] Vec<(String, u32)>);
        mod order {
            use serde::{Deserialize, Deserializer, Serializer};
            type Pairs = Vec<(String, u32)>;
            pub(super) fn serialize<S: Serializer>(
                pairs: &Pairs,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                to.collect_map(pairs.iter().map(|(k, v)| (k, v)))
            }
            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Pairs, D::Error> {
                let map = std::collections::BTreeMap::deserialize(from)?;
                Ok(map.into_iter().collect())
            }
        }
        let codec = Codec::<Pairs>::new().unwrap();
        let mut pairs = Pairs(vec![("a".into(), 1), ("b".into(), 2)]);
        let mut watch = codec.watch(&pairs).unwrap();
        pairs.0.reverse();
        watch.commit(&pairs).unwrap();
        assert_eq!(watch.change().unwrap(), None);
    }

    #[test]
    fn a_free_map_gains_and_loses_keys() {
        let codec = Codec::<Free>::new().unwrap();
        let mut free = codec
            .decode(
                &to_session(&Free::from([
                    ("a".into(), 1.into()),
                    ("b".into(), 2.into()),
                ]))
                .unwrap(),
            )
            .unwrap();
        let mut watch = codec.watch(&free).unwrap();
        free.remove("a");
        free.insert("c".into(), serde_json::json!({"deep": [1, 2.5, "x", null]}));
        watch.commit(&free).unwrap();
        let change = watch.change().unwrap().unwrap();
        assert_eq!(
            (keys(&change), &*change.removed),
            (vec!["c".into()], &["a".to_owned()][..])
        );
    }

    #[test]
    fn after_an_event_that_failed_the_session_is_as_before_it() {
        let codec = Codec::<Login>::new().unwrap();
        let mut login = Login::default();
        let mut watch = codec.watch(&login).unwrap();
        login.name = "ann".into();
        watch.commit(&login).unwrap();
        login.name = "half-done".into();
        assert_eq!(watch.restore().unwrap().name, "ann");
        drop(login);
        assert_eq!(keys(&watch.change().unwrap().unwrap()), ["name"]);
    }

    #[test]
    fn what_is_no_map_or_too_large_or_of_another_type_is_an_error() {
        assert!(Codec::<Vec<u8>>::new().is_err());
        assert!(Codec::<()>::new().is_ok());
        assert!(
            Codec::<Option<Login>>::new().is_ok(),
            "none is an empty session"
        );
        assert!(to_session(&5).is_err());

        let other = to_session(&Free::from([("visits".into(), "many".into())])).unwrap();
        let error = Codec::<Login>::new().unwrap().decode(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Session);

        let codec = Codec::<Login>::new().unwrap();
        let mut watch = codec.watch(&Login::default()).unwrap();
        let name = "n".repeat(wire::session::MAX_SESSION);
        let large = Login {
            name,
            ..Login::default()
        };
        assert!(watch.commit(&large).is_err());
        assert_eq!(watch.change().unwrap(), None);
    }

    #[test]
    fn a_type_without_state_is_never_read() {
        let codec = Codec::<()>::new().unwrap();
        let session = to_session(&Free::from([("a".into(), 1.into())])).unwrap();
        codec.decode(&session).unwrap();
        let mut watch = codec.watch(&()).unwrap();
        watch.commit(&()).unwrap();
        assert_eq!(watch.change().unwrap(), None);
    }
}
