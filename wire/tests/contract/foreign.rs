//! The same message as another encoder might write it: every freedom that CBOR leaves.

use ciborium::Value;

/// What a foreign encoder does differently from ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Maps and lists without a length, ended by a break.
    pub(crate) endless: bool,
    /// Text and byte strings in pieces, ended by a break.
    pub(crate) pieces: bool,
    /// Numbers and lengths in eight bytes, however small they are.
    pub(crate) wide: bool,
    /// Map entries the other way round.
    pub(crate) reversed: bool,
    /// Fields that nobody knows, in every map.
    pub(crate) unknown: bool,
    /// Tags that mean nothing here, around every value.
    pub(crate) tagged: bool,
}

/// Every style alone, and all at once.
pub(crate) const STYLES: [(&str, Style); 7] = {
    const PLAIN: Style = Style {
        endless: false,
        pieces: false,
        wide: false,
        reversed: false,
        unknown: false,
        tagged: false,
    };
    [
        (
            "endless",
            Style {
                endless: true,
                ..PLAIN
            },
        ),
        (
            "pieces",
            Style {
                pieces: true,
                ..PLAIN
            },
        ),
        (
            "wide",
            Style {
                wide: true,
                ..PLAIN
            },
        ),
        (
            "reversed",
            Style {
                reversed: true,
                ..PLAIN
            },
        ),
        (
            "unknown",
            Style {
                unknown: true,
                ..PLAIN
            },
        ),
        (
            "tagged",
            Style {
                tagged: true,
                ..PLAIN
            },
        ),
        (
            "all",
            Style {
                endless: true,
                pieces: true,
                wide: true,
                reversed: true,
                unknown: true,
                tagged: true,
            },
        ),
    ]
};

/// Fields from some other version: anything that CBOR can say.
const UNKNOWN: &[(&str, &[u8])] = &[
    ("x-map", b"\xa2\x01\x83\xf6\xf9\x3e\x00\xf7\xf6\x42\x01\x02"),
    (
        "x-endless",
        b"\x9f\xbf\x61a\x5f\x41b\x40\xff\xff\xe0\xf8\xff\xff",
    ),
    ("x-tag", b"\xc1\x1a\x65\x00\x00\x00"),
    ("x-big", b"\xc2\x51\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("x-smallest", b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff"),
];

impl Style {
    /// Well-formed bytes of one CBOR item, re-written in this style.
    pub(crate) fn rewrite(self, bytes: &[u8]) -> Vec<u8> {
        let value = ciborium::from_reader(bytes).expect("well-formed CBOR");
        let mut out = Vec::new();
        self.item(&value, &mut out);
        out
    }

    fn item(self, value: &Value, out: &mut Vec<u8>) {
        if self.tagged {
            self.head(6, 55799, out);
        }
        self.bare(value, out);
    }

    fn bare(self, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Integer(n) => match i128::from(*n) {
                n @ 0.. => self.head(0, n.try_into().expect("64 bits"), out),
                n => self.head(1, (-1 - n).try_into().expect("64 bits"), out),
            },
            Value::Bytes(bytes) => self.string(2, bytes, bytes.len() / 2, out),
            Value::Text(text) => {
                let half = (0..=text.len() / 2).rfind(|at| text.is_char_boundary(*at));
                self.string(3, text.as_bytes(), half.expect("0 is a boundary"), out);
            }
            Value::Array(items) => self.listed(4, items.len(), out, |out| {
                items.iter().for_each(|item| self.item(item, out));
            }),
            Value::Map(items) => self.map(items, out),
            Value::Bool(_) | Value::Null | Value::Float(_) => {
                ciborium::into_writer(value, out).expect("memory");
            }
            other => unreachable!("no message holds {other:?}"),
        }
    }

    fn map(self, items: &[(Value, Value)], out: &mut Vec<u8>) {
        let mut items = items.to_vec();
        if self.reversed {
            items.reverse();
        }
        let mut unknown: &[(&str, &[u8])] = &[];
        if self.unknown {
            unknown = UNKNOWN;
        }
        self.listed(5, unknown.len() + items.len(), out, |out| {
            for (key, item) in unknown {
                self.bare(&Value::from(*key), out);
                out.extend_from_slice(item);
            }
            for (key, value) in &items {
                self.bare(key, out);
                self.item(value, out);
            }
        });
    }

    fn listed(self, major: u8, len: usize, out: &mut Vec<u8>, items: impl FnOnce(&mut Vec<u8>)) {
        if self.endless {
            out.push(major << 5 | 31);
            items(out);
            out.push(0xff);
        } else {
            self.head(major, len as u64, out);
            items(out);
        }
    }

    fn string(self, major: u8, bytes: &[u8], middle: usize, out: &mut Vec<u8>) {
        if !self.pieces {
            self.head(major, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
            return;
        }
        out.push(major << 5 | 31);
        for piece in [&bytes[..middle], &bytes[middle..]] {
            self.head(major, piece.len() as u64, out);
            out.extend_from_slice(piece);
        }
        out.push(0xff);
    }

    fn head(self, major: u8, n: u64, out: &mut Vec<u8>) {
        let major = major << 5;
        match (self.wide, n) {
            (false, 0..=23) => out.push(major | n as u8),
            (false, 24..=0xff) => out.extend([major | 24, n as u8]),
            (false, 0x100..=0xffff) => {
                out.push(major | 25);
                out.extend((n as u16).to_be_bytes());
            }
            (false, 0x1_0000..=0xffff_ffff) => {
                out.push(major | 26);
                out.extend((n as u32).to_be_bytes());
            }
            _ => {
                out.push(major | 27);
                out.extend(n.to_be_bytes());
            }
        }
    }
}
