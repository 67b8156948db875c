//! How pickles spell texts and numbers, and what their lengths and keys may cost.

use num_bigint::BigInt;
use rekindle_recorder::pickle::{self, KeepIds};
use rekindle_recorder::{ErrorKind, Limits, Result, Value};

fn load(parts: &[&[u8]], limits: &Limits) -> Result<Value> {
    Ok(pickle::read(&[&parts.concat(), &b"."[..]].concat(), "p", limits, &mut KeepIds)?.value)
}

/// What an opcode makes of its argument.
fn made(opcode: &[u8], argument: &[u8]) -> Result<Value> {
    load(&[opcode, argument], &Limits::default())
}

#[test]
fn python_2_escapes_come_out_as_python_reads_them() {
    let read = |line: &[u8]| made(b"S", &[line, b"\n"].concat());
    let cases: [(&[u8], &[u8]); 7] = [
        (b"'plain'", b"plain"),
        (br#""it's""#, b"it's"),
        (br"'\x41\n\t\\\'\0\101\377'", b"A\n\t\\'\0A\xff"),
        (br"'\q'", b"\\q"),
        (b"''", b""),
        (b"'a' ", b"a"),
        (br"'\1234'", b"S4"),
    ];
    for (line, expected) in cases {
        match read(line).unwrap() {
            Value::Str(text) => assert_eq!(text.as_bytes(), expected),
            Value::Bytes(bytes) => assert_eq!(*bytes, *expected),
            other => panic!("{other:?}"),
        }
    }
    for line in [&b"'"[..], b"plain", b"'a\"", br"'\x4'", b"", b"'\\'"] {
        assert!(read(line).unwrap_err().to_string().contains("is not quoted as Python does"), "{line:?}");
    }
}

#[test]
fn raw_unicode_escapes_name_characters_and_surrogates() {
    let read = |line: &[u8]| made(b"V", &[line, b"\n"].concat());
    for (line, expected) in [
        (&br"a\u20ac\U0001F600"[..], "a€😀"),
        (b"caf\xe9 \\n", "café \\n"),
        (br"\\u0041\\\u0041", r"\\u0041\\A"),
        (br"\u005cn", "\\n"),
    ] {
        assert_eq!(read(line).unwrap().as_str(), Some(expected));
    }
    assert!(matches!(read(br"\ud800").unwrap(), Value::SurrogateStr(b) if *b == *b"\xed\xa0\x80"));
    assert!(read(br"\u20").is_err());
    assert!(read(br"\U00110000").is_err());
}

#[test]
fn lone_surrogates_pass_and_other_broken_text_does_not() {
    let utf8 = |bytes: &[u8]| made(b"X", &[&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat());
    assert!(matches!(utf8(b"a\xed\xb0\x80b").unwrap(), Value::SurrogateStr(_)));
    assert!(utf8(b"\xff").is_err());
    assert!(utf8(b"\xed\xa0").is_err());
    assert!(matches!(made(b"U", b"\x01\xff").unwrap(), Value::Bytes(_)));
}

#[test]
fn integers_are_read_as_python_reads_them() {
    let read = |text: &str| made(b"L", format!("{text}\n").as_bytes());
    for (text, expected) in [("12", 12), ("-7", -7), ("0x1F", 31), ("0o17", 15), ("0b101", 5), ("+3", 3), ("0", 0)] {
        assert!(matches!(read(text).unwrap(), Value::Int(number) if number == expected), "{text}");
    }
    let longest = "9".repeat(16_384);
    assert!(matches!(read(&longest).unwrap(), Value::BigInt(number) if *number == longest.parse::<BigInt>().unwrap()));
    for text in ["", "-", "--1", "1.5", "é", "0x", "1_0", &format!("{longest}9")] {
        assert!(read(text).unwrap_err().to_string().contains("is no integer"), "{text:.20}");
    }
}

#[test]
fn a_length_beyond_the_end_is_refused_before_anything_is_made() {
    let error = made(b"\x8e", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Truncated { .. }), "{error}");
    let error = made(b"T", &[0xff, 0xff, 0xff, 0xff]).unwrap_err();
    assert!(error.to_string().contains("negative"), "{error}");
}

#[test]
fn a_key_that_would_take_forever_to_hash_or_nests_too_deep_is_refused() {
    let mut limits = Limits::default();
    limits.values = 10_000;
    let twice = b"2\x86".repeat(60);
    assert!(load(&[b"}K\x01K\x02\x86", &twice, b"Ns"], &limits).unwrap_err().to_string().contains("keys"));
    let mut limits = Limits::default();
    limits.depth = 5;
    assert!(load(&[b"}K\x01", &[0x85; 6], b"Ns"], &limits).unwrap_err().to_string().contains("depth"));
}

#[test]
fn entries_of_the_memo_are_found_wherever_their_numbers_lie() {
    let numbers: [u64; 10] = [1, 0, 17, 1 << 40, 5, 40, 30, 1 << 40, 29, 17];
    let put: String = numbers.iter().enumerate().map(|(count, number)| format!("I{count}\np{number}\n0")).collect();
    let get = |rest: &[u8]| load(&[put.as_bytes(), rest], &Limits::default());
    let last = |number| numbers.iter().rposition(|&other| other == number).and_then(|at| i64::try_from(at).ok());
    for number in numbers {
        assert_eq!(get(format!("g{number}\n").as_bytes()).unwrap().as_i64(), last(number), "{number}");
    }
    assert!(get(b"g2\n").is_err());
    // There are eight: what comes without a number is the next.
    assert_eq!(get(b"I77\n\x940g8\n").unwrap().as_i64(), Some(77));
}
