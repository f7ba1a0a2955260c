//! Reads CBOR (RFC 8949) out of a slice, for serde.
//!
//! It takes whatever a foreign encoder may write: numbers and lengths of any width, lists, maps and
//! strings without a length, tags (which mean nothing here and are passed over), `undefined` for
//! `null`. It holds two promises: nesting ends at a limit, and a length that is announced costs
//! nothing until the bytes are there. Strings are borrowed from the slice, so that ids and keys are
//! read without a copy; that, and no scratch buffer to clear, is why it stands here beside ciborium,
//! which writes and knows the free-form [`Value`](ciborium::Value).

use std::{borrow::Cow, fmt};

use serde::{
    de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const UNDEFINED: u8 = 0xf7;
const FLOAT16: u8 = 0xf9;
const FLOAT32: u8 = 0xfa;
const FLOAT64: u8 = 0xfb;
const BREAK: u8 = 0xff;

const BIG_POSITIVE: u64 = 2;
const BIG_NEGATIVE: u64 = 3;

/// By this name ciborium's `Value` knows that a tag comes.
const TAGGED: &str = "@@TAGGED@@";

/// Longest error text, in bytes: it may repeat what a stranger wrote.
const MAX_ERROR: usize = 120;

/// Why the bytes are not what was asked for.
///
/// Small, because every step of reading returns it or something.
#[derive(Debug)]
pub(crate) struct Error(Box<Text>);

#[derive(Debug)]
struct Text(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let mut text = message.to_string();
        if let Some(end) =
            (0..=MAX_ERROR).rfind(|at| text.len() > MAX_ERROR && text.is_char_boundary(*at))
        {
            text.truncate(end);
            text.push('…');
        }
        Self(Box::new(Text(text)))
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

#[cold]
fn ended() -> Error {
    wrong("the message ends too early")
}

#[cold]
fn wrong(what: &str) -> Error {
    de::Error::custom(what)
}

/// The first byte of an item and what it announces.
#[derive(Clone, Copy)]
struct Head {
    first: u8,
    /// The number, length or tag; nothing where the item is endless.
    n: u64,
}

impl Head {
    const fn major(self) -> u8 {
        self.first >> 5
    }

    /// Whether a break will end the item; of a simple value, whether it is the break.
    const fn endless(self) -> bool {
        self.first & 31 == 31
    }

    /// How many items or bytes are announced.
    const fn len(self) -> Option<u64> {
        if self.endless() { None } else { Some(self.n) }
    }
}

/// What is left to read, and how deep it may still nest.
pub(crate) struct Reader<'de> {
    rest: &'de [u8],
    levels: usize,
}

impl<'de> Reader<'de> {
    pub(crate) const fn new(bytes: &'de [u8], levels: usize) -> Self {
        Self {
            rest: bytes,
            levels,
        }
    }

    /// How many bytes have not been read.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    fn peek(&self) -> Result<u8> {
        self.rest.first().copied().ok_or_else(ended)
    }

    fn take(&mut self, n: u64) -> Result<&'de [u8]> {
        let taken = usize::try_from(n)
            .ok()
            .and_then(|n| self.rest.split_at_checked(n));
        let (taken, rest) = taken.ok_or_else(ended)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn head(&mut self) -> Result<Head> {
        let Some((&first, rest)) = self.rest.split_first() else {
            return Err(ended());
        };
        self.rest = rest;
        let n = match first & 31 {
            n @ 0..=23 => u64::from(n),
            _ => self.long(first)?,
        };
        Ok(Head { first, n })
    }

    /// What a head announces in the bytes after the first.
    fn long(&mut self, first: u8) -> Result<u64> {
        Ok(match first & 31 {
            24 => u64::from(self.array::<1>()?[0]),
            25 => u64::from(u16::from_be_bytes(self.array()?)),
            26 => u64::from(u32::from_be_bytes(self.array()?)),
            27 => u64::from_be_bytes(self.array()?),
            31 if matches!(first >> 5, BYTES | TEXT | LIST | MAP | SIMPLE) => 0,
            _ => return Err(wrong("a first byte that CBOR does not know")),
        })
    }

    /// The head of the next item, tags passed over.
    #[inline]
    fn untagged(&mut self) -> Result<Head> {
        loop {
            let head = self.head()?;
            if head.major() != TAG {
                return Ok(head);
            }
        }
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.levels = self
            .levels
            .checked_sub(1)
            .ok_or_else(|| wrong("nested too deep"))?;
        let out = f(self);
        self.levels += 1;
        out
    }

    /// Whether the break of an endless item comes here; it is read if so.
    fn at_break(&mut self) -> Result<bool> {
        let end = self.peek()? == BREAK;
        if end {
            self.rest = &self.rest[1..];
        }
        Ok(end)
    }

    /// The bytes of a string whose head was read: borrowed where they stand in one piece.
    fn string(&mut self, head: Head) -> Result<Cow<'de, [u8]>> {
        if !head.endless() {
            return self.take(head.n).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        while !self.at_break()? {
            let piece = self.head()?;
            if piece.major() != head.major() || piece.endless() {
                return Err(wrong("a string in pieces with something else between them"));
            }
            whole.extend_from_slice(self.take(piece.n)?);
        }
        Ok(Cow::Owned(whole))
    }

    fn text<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value> {
        const NOT_UTF8: &str = "a text string that is not UTF-8";
        match self.string(head)? {
            Cow::Borrowed(bytes) => {
                visitor.visit_borrowed_str(str::from_utf8(bytes).map_err(|_| wrong(NOT_UTF8))?)
            }
            Cow::Owned(bytes) => {
                visitor.visit_string(String::from_utf8(bytes).map_err(|_| wrong(NOT_UTF8))?)
            }
        }
    }

    fn bytes<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value> {
        match self.string(head)? {
            Cow::Borrowed(bytes) => visitor.visit_borrowed_bytes(bytes),
            Cow::Owned(bytes) => visitor.visit_byte_buf(bytes),
        }
    }

    fn list<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value> {
        self.nested(|reader| {
            let mut items = Items {
                reader,
                left: head.len(),
                ended: false,
            };
            let value = visitor.visit_seq(&mut items)?;
            items.end()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value> {
        self.nested(|reader| {
            let mut items = Items {
                reader,
                left: head.len(),
                ended: false,
            };
            let value = visitor.visit_map(&mut items)?;
            items.end()?;
            Ok(value)
        })
    }

    fn float(&mut self, head: Head) -> Option<f64> {
        let n = head.n;
        Some(match head.first {
            FLOAT16 => half(n as u16),
            FLOAT32 => f64::from(f32::from_bits(n as u32)),
            FLOAT64 => f64::from_bits(n),
            _ => return None,
        })
    }

    /// A whole number of any width, big ones up to 128 bits.
    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let mut tag = None;
        loop {
            let head = self.head()?;
            return match (head.major(), head.len()) {
                (TAG, number) => {
                    tag = number;
                    continue;
                }
                (UNSIGNED, Some(n)) => visitor.visit_u64(n),
                (NEGATIVE, Some(n)) => match i64::try_from(n) {
                    Ok(n) => visitor.visit_i64(-1 - n),
                    Err(_) => visitor.visit_i128(-1 - i128::from(n)),
                },
                (BYTES, _) if tag == Some(BIG_POSITIVE) => visitor.visit_u128(self.big(head)?),
                (BYTES, _) if tag == Some(BIG_NEGATIVE) => match i128::try_from(self.big(head)?) {
                    Ok(n) => visitor.visit_i128(-1 - n),
                    Err(_) => Err(wrong("a number of more than 128 bits")),
                },
                _ => Err(mismatch(head, &visitor)),
            };
        }
    }

    fn big(&mut self, head: Head) -> Result<u128> {
        let bytes = self.string(head)?;
        let digits = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
        if digits.len() > 16 {
            return Err(wrong("a number of more than 128 bits"));
        }
        Ok(digits.iter().fold(0, |n, b| n << 8 | u128::from(*b)))
    }

    /// Reads one item and makes nothing of it.
    fn skip(&mut self) -> Result<()> {
        let head = self.untagged()?;
        match (head.major(), head.len()) {
            (BYTES | TEXT, _) => self.string(head).map(drop),
            (SIMPLE, None) => Err(wrong("a break where nothing is to be ended")),
            (LIST, n) => self.nested(|reader| reader.skip_items(n, 1)),
            (MAP, n) => self.nested(|reader| reader.skip_items(n, 2)),
            _ => Ok(()),
        }
    }

    fn skip_items(&mut self, n: Option<u64>, each: usize) -> Result<()> {
        let mut done = 0;
        while match n {
            Some(n) => done < n,
            None => !self.at_break()?,
        } {
            for _ in 0..each {
                self.skip()?;
            }
            done += 1;
        }
        Ok(())
    }
}

#[cold]
fn mismatch<'de, V: Visitor<'de>>(head: Head, visitor: &V) -> Error {
    let found = match head.major() {
        UNSIGNED => de::Unexpected::Other("a number"),
        NEGATIVE => de::Unexpected::Other("a negative number"),
        BYTES => de::Unexpected::Other("a byte string"),
        TEXT => de::Unexpected::Other("a text string"),
        LIST => de::Unexpected::Seq,
        MAP => de::Unexpected::Map,
        _ => de::Unexpected::Other("a simple value"),
    };
    de::Error::invalid_type(found, visitor)
}

/// A float of 16 bits (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 31);
    let mantissa = f64::from(bits & 1023);
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 { value } else { -value }
}

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

/// The items of a list, or the entries of a map, that are still to come.
struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// How many; `None` where a break ends them.
    left: Option<u64>,
    ended: bool,
}

impl Items<'_, '_> {
    fn more(&mut self) -> Result<bool> {
        if !self.ended {
            match &mut self.left {
                Some(0) => self.ended = true,
                Some(left) => *left -= 1,
                None => self.ended = self.reader.at_break()?,
            }
        }
        Ok(!self.ended)
    }

    /// The visitor has had enough: there must be nothing more.
    fn end(mut self) -> Result<()> {
        match self.more()? {
            false => Ok(()),
            true => Err(wrong("more items than there should be")),
        }
    }

    /// What is left, as far as the bytes can hold it.
    fn hint(&self, smallest: usize) -> Option<usize> {
        let room = self.reader.left() / smallest;
        self.left
            .map(|left| usize::try_from(left).unwrap_or(room).min(room))
    }
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        match self.more()? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint(1)
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        match self.more()? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint(2)
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

/// A tag and its item, for those who ask for anything: ciborium's `Value` keeps the tag, all others
/// take the item.
struct Tagged<'r, 'de> {
    reader: &'r mut Reader<'de>,
    tag: u64,
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
