//! What serde may ask a reader for.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer};

use super::{
    BYTES, Error, FALSE, Head, LIST, MAP, NEGATIVE, NULL, Reader, Result, TAG, TEXT, TRUE,
    UNDEFINED, UNSIGNED, mismatch, tagged::Tagged, wrong,
};

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek()? >> 5 <= NEGATIVE {
            return self.integer(visitor);
        }
        let head = self.head()?;
        match (head.major(), head.first) {
            (BYTES, _) => self.bytes(head, visitor),
            (TEXT, _) => self.text(head, visitor),
            (LIST, _) => self.list(head, visitor),
            (MAP, _) => self.map(head, visitor),
            (TAG, _) => self.nested(|reader| {
                let tag = head.n;
                visitor.visit_enum(Tagged { reader, tag })
            }),
            (_, FALSE) => visitor.visit_bool(false),
            (_, TRUE) => visitor.visit_bool(true),
            (_, NULL | UNDEFINED) => visitor.visit_none(),
            _ => match self.float(head) {
                Some(x) => visitor.visit_f64(x),
                None => Err(mismatch(head, &visitor)),
            },
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.untagged()? {
            Head { first: FALSE, .. } => visitor.visit_bool(false),
            Head { first: TRUE, .. } => visitor.visit_bool(true),
            head => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if matches!(self.peek()? >> 5, UNSIGNED | NEGATIVE) {
            return self.integer(visitor);
        }
        let head = self.untagged()?;
        match self.float(head) {
            Some(x) => visitor.visit_f64(x),
            None => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let head = self.untagged()?;
        match head.major() {
            TEXT => self.text(head, visitor),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let head = self.untagged()?;
        match head.major() {
            BYTES => self.bytes(head, visitor),
            LIST => self.list(head, visitor),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            NULL | UNDEFINED => {
                self.head()?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.untagged()? {
            Head {
                first: NULL | UNDEFINED,
                ..
            } => visitor.visit_unit(),
            head => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let head = self.untagged()?;
        match head.major() {
            LIST => self.list(head, visitor),
            // A `Vec<u8>` asks for a list, and is written as a byte string by some.
            BYTES => {
                let bytes = self.string(head)?;
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes.iter().copied()))
            }
            _ => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let head = self.untagged()?;
        match head.major() {
            MAP => self.map(head, visitor),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let head = self.untagged()?;
        match (head.major(), head.len()) {
            (TEXT, _) => {
                let bytes = self.string(head)?;
                let name =
                    str::from_utf8(&bytes).map_err(|_| wrong("a text string that is not UTF-8"))?;
                let name: StrDeserializer<'_, Error> = name.into_deserializer();
                visitor.visit_enum(name)
            }
            (MAP, Some(1)) => self.nested(|reader| visitor.visit_enum(Variant(reader))),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    /// Fields are told apart by their bytes, so nobody needs to know whether these are UTF-8.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let head = self.untagged()?;
        match head.major() {
            TEXT | BYTES => self.bytes(head, visitor),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// An enum's variant that holds something: a map of one entry.
struct Variant<'r, 'de>(&'r mut Reader<'de>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let name = seed.deserialize(&mut *self.0)?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.0.skip()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        de::Deserializer::deserialize_seq(self.0, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        de::Deserializer::deserialize_map(self.0, visitor)
    }
}
