use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{Error, ErrorKind};

fn encoded(values: &[Value]) -> Bytes {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| encode(value, &mut out));
    out.freeze()
}

/// Decodes a message and checks that the scan agrees.
fn decoded(message: &[u8]) -> Result<Vec<Value>, Error> {
    let values = decode_all(Bytes::copy_from_slice(message), &Limits::default());
    let scanned = scan(message, &Limits::default());
    assert_eq!(scanned.err(), values.as_ref().err().copied());
    values
}

fn fault(pos: u64, kind: ErrorKind) -> Result<Vec<Value>, Error> {
    Err(Error { pos, kind })
}

fn props(properties: &[(&'static str, Value)]) -> Props {
    properties.iter().cloned().collect()
}

#[test]
fn every_form_is_on_the_wire_as_specified() {
    let cases: [(Value, &[u8]); 15] = [
        (Value::Number(4.0), b"\x00\x40\x10\0\0\0\0\0\0"),
        (Value::Boolean(true), b"\x01\x01"),
        (Value::str("key"), b"\x02\0\x03key"),
        (Value::Object(props(&[("a", Value::Null)])), b"\x03\0\x01a\x05\0\0\x09"),
        (Value::Object(Props::new()), b"\x03\0\0\x09"),
        (Value::Null, b"\x05"),
        (Value::Undefined, b"\x06"),
        (Value::Reference(258), b"\x07\x01\x02"),
        (Value::EcmaArray(props(&[("", Value::Null)])), b"\x08\0\0\0\x01\0\0\x05\0\0\x09"),
        (Value::StrictArray(vec![Value::Null, Value::Boolean(false)]), b"\x0A\0\0\0\x02\x05\x01\0"),
        (Value::Date { ms: 4.0, tz: -60 }, b"\x0B\x40\x10\0\0\0\0\0\0\xFF\xC4"),
        (Value::LongString(Bytes::from_static(b"hi")), b"\x0C\0\0\0\x02hi"),
        (Value::Unsupported, b"\x0D"),
        (Value::Xml(Bytes::from_static(b"<a/>")), b"\x0F\0\0\0\x04<a/>"),
        (
            Value::TypedObject { name: Bytes::from_static(b"T"), props: props(&[("a", Value::Null)]) },
            b"\x10\0\x01T\0\x01a\x05\0\0\x09",
        ),
    ];
    for (value, wire) in cases {
        assert_eq!(encoded(std::slice::from_ref(&value)), wire, "{value:?}");
        assert_eq!(decoded(wire), Ok(vec![value]));
    }
}

#[test]
fn commands_match_the_bytes_of_other_implementations() {
    let create = [Value::str("createStream"), Value::Number(4.0), Value::Null];
    assert_eq!(encoded(&create), b"\x02\0\x0CcreateStream\0\x40\x10\0\0\0\0\0\0\x05"[..]);
    let publish = [Value::str("FCPublish"), Value::Number(3.0), Value::Null, Value::str("key")];
    assert_eq!(encoded(&publish), b"\x02\0\x09FCPublish\0\x40\x08\0\0\0\0\0\0\x05\x02\0\x03key"[..]);
}

#[test]
fn properties_keep_their_order_and_repeats() {
    let object = props(&[("z", Value::Number(1.0)), ("a", Value::Null), ("z", Value::Number(2.0))]);
    assert_eq!(object.get("z").and_then(Value::as_number), Some(1.0));
    assert_eq!(object.get("b"), None);
    let back = decoded(&encoded(&[Value::Object(object)])).unwrap();
    let names = back[0].as_props().unwrap().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names, ["z", "a", "z"]);
}

#[test]
fn the_count_of_an_ecma_array_is_advisory() {
    for count in [0u32, 7, u32::MAX] {
        let wire = [b"\x08", &count.to_be_bytes()[..], b"\0\x01a\x05\0\x01b\x06\0\0\x09\x05"].concat();
        let array = Value::EcmaArray(props(&[("a", Value::Null), ("b", Value::Undefined)]));
        assert_eq!(decoded(&wire), Ok(vec![array, Value::Null]));
    }
}

#[test]
fn the_outermost_ecma_array_may_end_with_the_message() {
    let array = Value::EcmaArray(props(&[("a", Value::Null)]));
    for end in [&b"\0\0\x09"[..], b"\0\0", b"\0", b""] {
        assert_eq!(decoded(&[b"\x08\0\0\0\x01\0\x01a\x05", end].concat()), Ok(vec![array.clone()]));
    }
    // Cut within a property, or within another container, it is an error.
    assert_eq!(decoded(b"\x08\0\0\0\x01\0\x01a\x00\x40"), fault(9, ErrorKind::AmfTruncated));
    assert_eq!(decoded(b"\x08\0\0\0\x01\0\x02a"), fault(7, ErrorKind::AmfTruncated));
    assert_eq!(decoded(b"\x08\0\0\0\x01\0\x01a\x08\0\0\0\0"), fault(13, ErrorKind::AmfTruncated));
    assert_eq!(decoded(b"\x03\0\x01a\x05"), fault(5, ErrorKind::AmfTruncated));
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    let all = [
        Value::str("onMetaData"),
        Value::StrictArray(vec![Value::Date { ms: 1.0, tz: 0 }, Value::LongString(Bytes::from_static(b"long"))]),
        Value::Object(props(&[("a", Value::Number(1.0)), ("b", Value::Reference(1)), ("c", Value::Boolean(true))])),
    ];
    let message = encoded(&all);
    let ends = (1..=all.len()).map(|count| encoded(&all[..count]).len()).collect::<Vec<_>>();
    for cut in 1..message.len() {
        let result = decoded(&message[..cut]);
        assert_eq!(result.is_ok(), ends.contains(&cut), "cut at {cut}: {result:?}");
    }
}

#[test]
fn decode_takes_one_value_and_slices_its_strings() {
    let mut message = encoded(&[Value::str("publish"), Value::Null]);
    let whole = message.clone();
    let name = decode(&mut message, &Limits::default()).unwrap();
    assert_eq!((name.as_str(), &message[..]), (Some("publish"), &b"\x05"[..]));
    let Value::String(text) = name else { panic!("{name:?}") };
    assert_eq!(text.as_ptr(), whole[3..].as_ptr());

    let mut broken = Bytes::from_static(b"\x02\0\x09x");
    assert!(decode(&mut broken, &Limits::default()).is_err());
    assert_eq!(broken.len(), 4);
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |levels: usize| [b"\x03".to_vec(), b"\0\x01a\x03".repeat(levels - 1), b"\0\0\x09".repeat(levels)].concat();
    assert!(decoded(&nested(16)).is_ok());
    assert_eq!(decoded(&nested(17)), fault(64, ErrorKind::AmfTooDeep(16)));
    assert_eq!(decoded(&nested(100_000)), fault(64, ErrorKind::AmfTooDeep(16)));
    assert_eq!(decoded(&b"\x0A\0\0\0\x01".repeat(100_000)), fault(80, ErrorKind::AmfTooDeep(16)));
}

#[test]
fn values_are_bounded() {
    assert_eq!(scan(&[5; 4096], &Limits::default()), Ok(4096));
    assert_eq!(decoded(&[5; 4097]), fault(4096, ErrorKind::AmfTooMany(4096)));
    // The count alone neither reserves nor loops.
    assert_eq!(decoded(b"\x0A\xFF\xFF\xFF\xFF\x05"), fault(6, ErrorKind::AmfTruncated));
}

#[test]
fn strings_are_bounded() {
    let limits = Limits { string: 10, ..Limits::default() };
    assert_eq!(scan(b"\x02\0\x0A0123456789", &limits), Ok(1));
    let kind = ErrorKind::AmfStringTooLong(11);
    assert_eq!(scan(b"\x02\0\x0B01234567890", &limits), Err(Error { pos: 1, kind }));
    assert_eq!(decoded(b"\x0C\xFF\xFF\xFF\xFF"), fault(1, ErrorKind::AmfStringTooLong(0xFFFF_FFFF)));
}

#[test]
fn unknown_markers_are_an_error() {
    for marker in [0x04, 0x09, 0x0E, 0x11, 0xFF] {
        assert_eq!(decoded(&[0x05, marker]), fault(1, ErrorKind::AmfMarker(marker)));
    }
    assert_eq!(decoded(b"\x11").unwrap_err().to_string(), "unknown AMF0 marker 0x11 at byte 0");
}

#[test]
fn long_text_takes_the_long_form() {
    let text = "x".repeat(65_536);
    assert_eq!(Value::str(&text[1..]), Value::String(Bytes::copy_from_slice(&text.as_bytes()[1..])));
    assert_eq!(encoded(&[Value::str(&text)])[..5], *b"\x0C\0\x01\0\0");
    assert_eq!(encoded(&[Value::String(text.clone().into())])[..5], *b"\x0C\0\x01\0\0");
    assert_eq!(decoded(&encoded(&[Value::str(&text)])).unwrap()[0].as_str(), Some(&text[..]));
}

#[test]
fn a_script_body_begins_with_its_name() {
    assert_eq!(metadata_name(b"\x02\0\x0AonMetaData\x08"), Some(&b"onMetaData"[..]));
    assert_eq!(metadata_name(b"\x02\0\x0AonMeta"), None);
    assert_eq!(metadata_name(b"\x0C\0\0\0\x01a"), None);
    assert_eq!(metadata_name(b"\x02\0"), None);
}

fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-1e9..1e9f64).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        bytes().prop_map(Value::String),
        bytes().prop_map(Value::LongString),
        bytes().prop_map(Value::Xml),
        any::<u16>().prop_map(Value::Reference),
        (-1e12..1e12f64, any::<i16>()).prop_map(|(ms, tz)| Value::Date { ms, tz }),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        let props = prop::collection::vec((bytes(), inner.clone()), 0..5).prop_map(Props::from_iter);
        prop_oneof![
            props.clone().prop_map(Value::Object),
            props.clone().prop_map(Value::EcmaArray),
            (bytes(), props).prop_map(|(name, props)| Value::TypedObject { name, props }),
            prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
        ]
    })
}

proptest! {
    #[test]
    fn values_come_back_as_they_were(values in prop::collection::vec(value(), 0..4)) {
        prop_assert_eq!(decoded(&encoded(&values)), Ok(values));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(message in prop::collection::vec(prop_oneof![0u8..0x12, any::<u8>()], 0..200)) {
        // `decoded` checks that both readers judge alike; what they accept survives another round.
        if let Ok(values) = decoded(&message) {
            let again = decoded(&encoded(&values)).map(|values| encoded(&values));
            prop_assert_eq!(again, Ok(encoded(&values)));
        }
    }
}
