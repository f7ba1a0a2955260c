//! Reads CBOR (RFC 8949) out of a slice, for serde.
//!
//! It takes whatever a foreign encoder may write: numbers and lengths of any width, lists, maps and
//! strings without a length, tags (which mean nothing here and are passed over), `undefined` for
//! `null`. It holds two promises: nesting ends at a limit, and a length that is announced costs
//! nothing until the bytes are there. Strings are borrowed from the slice, so that ids and keys are
//! read without a copy; that, and no scratch buffer to clear, is why it stands here beside ciborium,
//! which writes and knows the free-form [`Value`](ciborium::Value).

mod deserializer;
mod items;
mod tagged;

use std::{borrow::Cow, fmt};

use serde::de::{self, Visitor};

use self::items::Items;

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
