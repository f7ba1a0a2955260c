//! Tags, which mean nothing here but are kept in a free-form value.

use serde::{
    de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::{Error, Reader, Result, wrong};

/// By this name ciborium's `Value` knows that a tag comes.
const TAGGED: &str = "@@TAGGED@@";

/// A tag and its item, for those who ask for anything: ciborium's `Value` keeps the tag, all others
/// take the item.
pub(super) struct Tagged<'r, 'de> {
    pub(super) reader: &'r mut Reader<'de>,
    pub(super) tag: u64,
}

impl<'de> de::EnumAccess<'de> for Tagged<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self)> {
        let name: StrDeserializer<'_, Error> = TAGGED.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Tagged<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.reader.skip()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(TaggedParts {
            tagged: self,
            given: 0,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value> {
        Err(wrong("a tag where fields should be"))
    }
}

/// First the tag, then the item.
struct TaggedParts<'r, 'de> {
    tagged: Tagged<'r, 'de>,
    given: usize,
}

impl<'de> de::SeqAccess<'de> for TaggedParts<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        self.given += 1;
        match self.given {
            1 => seed.deserialize(TagNumber(self.tagged.tag)).map(Some),
            2 => seed.deserialize(&mut *self.tagged.reader).map(Some),
            _ => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(2_usize.saturating_sub(self.given))
    }
}

struct TagNumber(u64);

impl<'de> de::Deserializer<'de> for TagNumber {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
