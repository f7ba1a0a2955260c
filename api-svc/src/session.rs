//! Sessions in JSON.
//!
//! A session is a JSON object. What CBOR has and JSON has not:
//!
//! | in the session | in JSON |
//! | --- | --- |
//! | a byte string | `{"$binary": "<base64>"}`, both ways |
//! | an integer beyond 64 bits, a float that is not a number | its text, such as `"NaN"` |
//! | a key that is no text | its text, such as `"1"` |
//! | a tag | nothing; its item stays |
//!
//! Numbers without a fraction are integers, 64 bits wide, and stay exact.

use std::{borrow::Cow, fmt};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
};
use serde_json::{Map, Number, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, Type},
    },
};

use crate::failure::{Code, Failure};

/// The only key of an object that stands for bytes.
const BINARY: &str = "$binary";

/// A session: `Deserialize` reads one from a caller or a gateway and takes any map, `Serialize` writes one for a gateway.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Session(Map<String, Value>);

impl Session {
    /// What is wrong with one that a caller sent.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.0.values().try_for_each(check)
    }

    /// What a caller is shown.
    pub(crate) fn into_json(self) -> Map<String, Value> {
        self.0
    }
}

/// An object with the key `$binary` is bytes, or nothing that anybody meant.
fn check(value: &Value) -> Result<(), Failure> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(map) if map.contains_key(BINARY) && bytes(map).is_none() => {
            Err(Failure::new(
                Code::InvalidSession,
                "an object with the key `$binary` has no other key, and base64 as its value",
            ))
        }
        Value::Object(map) => map.values().try_for_each(check),
        _ => Ok(()),
    }
}

fn bytes(map: &Map<String, Value>) -> Option<Vec<u8>> {
    match map.get(BINARY) {
        Some(Value::String(text)) if map.len() == 1 => BASE64.decode(text.as_bytes()).ok(),
        _ => None,
    }
}

impl Serialize for Session {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, Outward(value))))
    }
}

/// A value on its way to a gateway.
struct Outward<'a>(&'a Value);

impl Serialize for Outward<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => match bytes(map) {
                Some(bytes) => to.serialize_bytes(&bytes),
                None => to.collect_map(map.iter().map(|(key, value)| (key, Outward(value)))),
            },
            Value::Array(items) => to.collect_seq(items.iter().map(Outward)),
            plain => plain.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_any(Inward)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(de::Error::custom("a session is a map")),
        }
    }
}

/// Reads whatever a session may hold.
struct Inward;

/// A value that is read by [`Inward`].
struct Item(Value);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Inward).map(Item)
    }
}

impl<'de> Visitor<'de> for Inward {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(json!({BINARY: BASE64.encode(value)}))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Item(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Item(key), Item(value))) = pairs.next_entry()? {
            let key = match key {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.insert(key, value);
        }
        Ok(map.into())
    }

    /// How a tag and its item come.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        struct TagAndItem;
        impl<'de> Visitor<'de> for TagAndItem {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tag and its item")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Value, A::Error> {
                let _tag = parts.next_element::<Item>()?;
                let item = parts.next_element::<Item>()?;
                Ok(item.map_or(Value::Null, |Item(item)| item))
            }
        }
        let (_, parts) = tagged.variant::<Item>()?;
        parts.tuple_variant(2, TagAndItem)
    }
}

impl PartialSchema for Session {
    fn schema() -> RefOr<Schema> {
        let session = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some(
                "a session, at most 64 KiB as the gateway keeps it and 16 deep; \
                 a byte string is `{\"$binary\": \"<base64>\"}`",
            ));
        session.into()
    }
}

impl ToSchema for Session {
    fn name() -> Cow<'static, str> {
        "Session".into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ciborium::Value as Cbor;

    use super::*;

    fn shown(value: Cbor) -> Value {
        let map = Cbor::Map(vec![(Cbor::Text("k".into()), value)]);
        let session: Session = map.deserialized().expect("never fails");
        session.into_json().remove("k").expect("the key")
    }

    #[test]
    fn whatever_a_session_holds_is_shown() {
        let int_key = vec![(Cbor::Integer(1.into()), Cbor::Bool(true))];
        for (cbor, json) in [
            (Cbor::Integer(i64::MIN.into()), json!(i64::MIN)),
            (Cbor::Integer(u64::MAX.into()), json!(u64::MAX)),
            (Cbor::Float(0.5), json!(0.5)),
            (Cbor::Float(f64::NAN), json!("NaN")),
            (Cbor::Bytes(vec![0, 255]), json!({"$binary": "AP8="})),
            (Cbor::Null, Value::Null),
            (Cbor::Map(int_key), json!({"1": true})),
            (
                Cbor::Tag(1, Box::new(Cbor::Array(vec![Cbor::Text("x".into())]))),
                json!(["x"]),
            ),
        ] {
            assert_eq!(shown(cbor), json);
        }
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let json = json!({"a": {"$binary": "AP8="}, "b": [1, -1, 1.5, "x", null, {"c": true}]});
        let Value::Object(map) = json else {
            unreachable!()
        };
        let session = Session(map.clone());
        session.check().unwrap();
        let cbor = Cbor::serialized(&session).unwrap();
        let pairs: BTreeMap<String, Cbor> = cbor.deserialized().unwrap();
        assert_eq!(pairs["a"], Cbor::Bytes(vec![0, 255]));
        let back: Session = cbor.deserialized().unwrap();
        assert_eq!(back.into_json(), map);
    }

    #[test]
    fn bytes_that_are_none_are_refused() {
        for wrong in [
            json!({"a": {"$binary": 1}}),
            json!({"a": [{"$binary": "!"}]}),
            json!({"a": {"$binary": "AP8=", "b": 1}}),
        ] {
            let Value::Object(map) = wrong else {
                unreachable!()
            };
            assert_eq!(Session(map).check().unwrap_err().code, Code::InvalidSession);
        }
    }
}
