//! `wire::decode` reads any type that serde knows, for an application's session may be any.

use std::collections::BTreeMap;

use ciborium::Value;
use serde::Serialize;

use crate::foreign::Style;

/// Everything that serde knows: an application's session type may be any of it.
#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    letter: char,
    small: i8,
    large: (u64, i64),
    huge: (u128, i128),
    floats: (f32, f64),
    text: String,
    bytes: Vec<u8>,
    some: Option<Box<Everything>>,
    nested: Option<Option<u8>>,
    newtype: Newtype,
    choices: Vec<Choice>,
    map: BTreeMap<i32, Choice>,
    free: Value,
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Newtype(Unit);

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
enum Choice {
    Bare,
    One(u32),
    Two(String, bool),
    Fields { a: i16, b: Option<String> },
    Inner(Box<Choice>),
}

fn everything(some: Option<Everything>) -> Everything {
    let choices = vec![
        Choice::Bare,
        Choice::One(u32::MAX),
        Choice::Two("two".to_owned(), true),
        Choice::Fields {
            a: i16::MIN,
            b: None,
        },
        Choice::Inner(Box::new(Choice::Inner(Box::new(Choice::One(0))))),
    ];
    Everything {
        unit: (),
        flag: true,
        letter: '世',
        small: i8::MIN,
        large: (u64::MAX, i64::MIN),
        huge: (u128::MAX, i128::MIN),
        floats: (1.5, -0.1),
        text: "text".to_owned(),
        bytes: vec![0, 255],
        some: some.map(Box::new),
        nested: Some(Some(0)),
        newtype: Newtype(Unit),
        map: (-2..).zip(choices.clone()).collect(),
        choices,
        free: Value::Tag(
            1,
            Box::new(Value::Array(vec![
                Value::Tag(2, Box::new(Value::Bytes(vec![1; 20]))),
                Value::Float(f64::INFINITY),
                Value::Map(vec![(Value::Null, (-1).into())]),
            ])),
        ),
    }
}

#[test]
fn any_type_of_serde_can_be_read() {
    let value = everything(Some(everything(None)));
    let bytes = wire::encode(&value);
    assert_eq!(
        wire::decode::<Everything>(&bytes).expect("our own bytes"),
        value
    );
    let endless = Style {
        endless: true,
        ..Style::default()
    };
    let flags = wire::encode(&BTreeMap::from([(1, vec![true, false]), (2, vec![])]));
    let decoded: BTreeMap<u8, Vec<bool>> = wire::decode(&endless.rewrite(&flags)).expect("bytes");
    assert_eq!(
        decoded,
        BTreeMap::from([(1, vec![true, false]), (2, vec![])])
    );
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Flat {
    own: u8,
    tagged: Tagged,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged {
    Guest { name: String, bytes: Vec<u8> },
}

#[test]
fn flattened_and_tagged_types_can_be_read() {
    let value = Flat {
        own: 1,
        tagged: Tagged::Guest {
            name: "bob".to_owned(),
            bytes: vec![1, 2],
        },
        rest: BTreeMap::from([
            ("more".to_owned(), vec![3u8].into()),
            ("世".to_owned(), 2.into()),
        ]),
    };
    let bytes = wire::encode(&value);
    assert_eq!(wire::decode::<Flat>(&bytes).expect("our own bytes"), value);
}

#[test]
fn floats_of_every_width_are_read() {
    // RFC 8949, appendix A.
    let cases: [(&[u8], f64); 14] = [
        (b"\xf9\x00\x00", 0.0),
        (b"\xf9\x80\x00", -0.0),
        (b"\xf9\x3c\x00", 1.0),
        (b"\xf9\x3e\x00", 1.5),
        (b"\xf9\x7b\xff", 65504.0),
        (b"\xf9\x00\x01", 5.960_464_477_539_063e-8),
        (b"\xf9\x04\x00", 0.000_061_035_156_25),
        (b"\xf9\xc4\x00", -4.0),
        (b"\xf9\x7c\x00", f64::INFINITY),
        (b"\xf9\xfc\x00", f64::NEG_INFINITY),
        (b"\xfa\x47\xc3\x50\x00", 100_000.0),
        (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", 1.1),
        (b"\x0a", 10.0),
        (b"\x39\x03\xe7", -1000.0),
    ];
    for (bytes, number) in cases {
        let read: f64 = wire::decode(bytes).expect("a float");
        assert_eq!(read.to_bits(), number.to_bits(), "{bytes:02x?}");
    }
    assert!(
        wire::decode::<f64>(b"\xf9\x7e\x00")
            .expect("a float")
            .is_nan()
    );
}
