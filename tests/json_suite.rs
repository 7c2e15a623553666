//! Every class of input that parsers of JSON are known to differ on: what is JSON is read, what is none is refused, what
//! the standard leaves open is either, and nothing panics: not the readers of `wire`, not any decoder.

use serde::Deserialize;
use serde_json::Value;
use tidegate::model::{Dec, Level, Query};
use tidegate::source::{SOURCES, State, judge_offline};
use tidegate::wire::{Answer, fields, json};

/// JSON (RFC 8259): both readers take it.
const VALID: &[&[u8]] = &[
    // Arrays.
    b"[]", b"[ ]", b"[[]   ]", b"[\"\"]", b"[\"a\"]", b"[false]", b"[null, 1, \"1\", {}]", b"[null]", b"[1\n]", b" [1]",
    b"[1,null,null,null,2]", b"[2] ", b"\t[\r\n1 ]\n", b"[[[[[[1]]]]]]",
    // Numbers.
    b"[123e65]", b"[0e+1]", b"[0e1]", b"[ 4]", b"[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
    b"[20e1]", b"[-0]", b"[-123]", b"[-1]", b"[1E22]", b"[1E-2]", b"[1E+2]", b"[123e45]", b"[123.456e78]", b"[1e-2]",
    b"[1e+2]", b"[123]", b"[123.456789]", b"[0]", b"[0.0]", b"[9223372036854775807]", b"[-9223372036854775808]",
    b"[18446744073709551615]", b"[10.00]",
    // Objects.
    b"{}", b"{\"asd\":\"sdf\", \"dfg\":\"fgh\"}", b"{\"asd\":\"sdf\"}", b"{\"a\":\"b\",\"a\":\"c\"}",
    b"{\"a\":\"b\",\"a\":\"b\"}", b"{\"\":0}", b"{\"foo\\u0000bar\": 42}", b"{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
    b"{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}",
    b"{\"a\":[]}", b"{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\" }", b"{\n\"a\": \"b\"\n}",
    // Strings.
    b"[\"\\u0060\\u012a\\u12AB\"]", b"[\"\\uD801\\udc37\"]", b"[\"\\ud83d\\ude39\\ud83d\\udc8d\"]",
    b"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", b"[\"\\\\u0000\"]", b"[\"\\\"\"]", b"[\"a/*b*/c/*d//e\"]", b"[\"\\\\a\"]",
    b"[\"\\\\n\"]", b"[\"\\u0012\"]", b"[\"\\uFFFF\"]", b"[ \"asd\"]", b"[\"\xf4\x8f\xbf\xbf\"]", b"[\"\xef\xbf\xbf\"]",
    b"[\"\\u0000\"]", b"[\"\\u002c\"]", b"[\"\xcf\x80\"]", b"[\"\xf0\x9b\xbf\xbf\"]", b"[\"asd \"]", b"\" \"",
    b"[\"\\uD834\\uDd1e\"]", b"[\"\\u0821\"]", b"[\"\\u0123\"]", b"[\"\xe2\x80\xa8\"]", b"[\"\xe2\x80\xa9\"]",
    b"[\"\\u0061\\u30af\\u30EA\\u30b9\"]", b"[\"new\\u000Aline\"]", b"[\"\x7f\"]", b"[\"\\uA66D\"]", b"[\"\\u005C\"]",
    b"[\"\xe2\x8d\x82\xe3\x88\xb4\xe2\x8d\x82\"]", b"[\"\\uDBFF\\uDFFE\"]", b"[\"\\u200B\"]", b"[\"\\u2064\"]",
    b"[\"\\uFDD0\"]", b"[\"\\uFFFE\"]", b"[\"\\u0022\"]", b"[\"\xe2\x82\xac\xf0\x9d\x84\x9e\"]", b"[\"a\x7fa\"]",
    b"[\"1.5e3, -2\"]", b"{\"-1\":\"0x1F\"}",
    // Single values.
    b"false", b"42", b"-0.1", b"null", b"\"asd\"", b"true", b"\"\"",
];

/// No JSON: both readers refuse it.
const INVALID: &[&[u8]] = &[
    // Arrays.
    b"[1 true]",
    b"[a\xe5]",
    b"[\"\": 1]",
    b"[\"\"],",
    b"[,1]",
    b"[1,,2]",
    b"[\"x\",,]",
    b"[\"x\"]]",
    b"[\"\",]",
    b"[\"x\"",
    b"[x",
    b"[3[4]]",
    b"[\xff]",
    b"[1:2]",
    b"[,]",
    b"[-]",
    b"[   , \"\"]",
    b"[\"a\",\n4\n,1,",
    b"[1,]",
    b"[1,,]",
    b"[\"\x0ba\"\\f]",
    b"[*]",
    b"[\"\"",
    b"[1,",
    b"[1,\n1\n,1",
    b"[{}",
    b"[1 2]",
    b"[1\"a\"]",
    b"[\"a\"1]",
    b"[\"a\"\"b\"]",
    // Literals.
    b"[fals]",
    b"[nul]",
    b"[tru]",
    b"[True]",
    b"[NULL]",
    b"[nulls]",
    b"[truefalse]",
    b"fals",
    b"nul",
    b"tru",
    b"true1",
    // Numbers.
    b"[++1234]",
    b"[+1]",
    b"[+Inf]",
    b"[-01]",
    b"[-1.0.]",
    b"[-2.]",
    b"[-NaN]",
    b"[.-1]",
    b"[.2e-3]",
    b"[0.1.2]",
    b"[0.3e+]",
    b"[0.3e]",
    b"[0.e1]",
    b"[0E+]",
    b"[0E]",
    b"[0e+]",
    b"[0e]",
    b"[1.0e+]",
    b"[1.0e-]",
    b"[1.0e]",
    b"[1 000.0]",
    b"[1eE2]",
    b"[2.e+3]",
    b"[2.e-3]",
    b"[2.e3]",
    b"[9.e+]",
    b"[Inf]",
    b"[NaN]",
    b"[\xef\xbc\x91]",
    b"[1+2]",
    b"[0x1]",
    b"[0x42]",
    b"[Infinity]",
    b"[0e+-1]",
    b"[-123.123foo]",
    b"[123\xe5]",
    b"[1e1\xe5]",
    b"[0\xe5]",
    b"[-Infinity]",
    b"[-foo]",
    b"[- 1]",
    b"[-012]",
    b"[-.123]",
    b"[-1x]",
    b"[1ea]",
    b"[1e\xe5]",
    b"[1.]",
    b"[.123]",
    b"[1.2a-3]",
    b"[1.8011670033376514H-308]",
    b"[012]",
    b"01",
    b"-",
    b"1.",
    b"1e",
    b"--1",
    b"[1-1]",
    b"[1_000]",
    b"[1,0x]",
    b"[00]",
    b"[1.1.1]",
    b"[1e5e5]",
    b"[1\"2\"]",
    // Objects.
    b"[\"x\", truth]",
    b"{[: \"x\"}\n",
    b"{\"x\", null}",
    b"{\"x\"::\"b\"}",
    b"{\xf0\x9f\x87\xa8\xf0\x9f\x87\xad}",
    b"{\"a\":\"a\" 123}",
    b"{key: 'value'}",
    b"{\"\xb9\":\"0\",}",
    b"{\"a\" b}",
    b"{:\"b\"}",
    b"{\"a\" \"b\"}",
    b"{\"a\":",
    b"{\"a\"",
    b"{1:1}",
    b"{9999E9999:1}",
    b"{null:null,null:null}",
    b"{\"id\":0,,,,,}",
    b"{'a':0}",
    b"{\"id\":0,}",
    b"{\"a\":\"b\"}/**/",
    b"{\"a\":\"b\"}/**//",
    b"{\"a\":\"b\"}//",
    b"{\"a\":\"b\"}/",
    b"{\"a\":\"b\",,\"c\":\"d\"}",
    b"{a: \"b\"}",
    b"{\"a\":\"a",
    b"{ \"foo\" : \"bar\", \"a\" }",
    b"{\"a\":\"b\"}#",
    b"{\"a\":1 \"b\":2}",
    b"{-1:2}",
    b"{,}",
    // Strings.
    b" ",
    b"[\"\\uD800\\\"]",
    b"[\"\\uD800\\u\"]",
    b"[\"\\uD800\\u1\"]",
    b"[\"\\uD800\\u1x\"]",
    b"[\xc3\xa9]",
    b"[\"\\\0\"]",
    b"[\"\\x00\"]",
    b"[\"\\\\\\\"]",
    b"[\"\\\t\"]",
    b"[\"\\\xf0\x9f\x8c\x80\"]",
    b"[\"\\\"]",
    b"[\"\\u00A\"]",
    b"[\"\\uD834\\uDd\"]",
    b"[\"\\uD800\\uD800\\x\"]",
    b"[\"\\u\xe5\"]",
    b"[\"\\a\"]",
    b"[\"\\uqqqq\"]",
    b"[\"\\\xe5\"]",
    b"[\\u0020\"asd\"]",
    b"[\\n]",
    b"\"",
    b"['single quote']",
    b"abc",
    b"[\"\\",
    b"[\"a\0a\"]",
    b"[\"new\nline\"]",
    b"[\"\t\"]",
    b"\"\\UA66D\"",
    b"\"\"x",
    b"[\"asd]",
    b"[\"\x1f\"]",
    // Structure.
    b"[\xe2\x81\xa0]",
    b"\xef\xbb",
    b"<.>",
    b"[<null>]",
    b"[1]x",
    b"[1]]",
    b"[\"asd",
    b"a\xc3\xa5",
    b"[True]",
    b"1]",
    b"{\"x\": true,",
    b"[][]",
    b"]",
    b"\xef\xbb{}",
    b"\xe5",
    b"[",
    b"",
    b"[\0]",
    b"2@",
    b"{}}",
    b"{\"\":",
    b"{\"a\":/*comment*/\"b\"}",
    b"{\"a\": true} \"x\"",
    b"['",
    b"[,",
    b"[{",
    b"[\"a",
    b"[\"a\"",
    b"{",
    b"{]",
    b"{,",
    b"{[",
    b"{\"a",
    b"{'a'",
    b"[\"\\{[\"\\{[\"\\{[\"\\{",
    b"\xe9",
    b"*",
    b"{\"a\":\"b\"}#{}",
    b"[\\u000A\"\"]",
    b"[1",
    b"[ false, nul",
    b"[ true, fals",
    b"[ false, tru",
    b"{\"asd\":\"asd\"",
    b"\xc3\xa5",
    b"[\xe2\x81\xa0]",
    b"[\x0c]",
    b"\0",
    b"{}\0",
    b"[1]\xef\xbb\xbf",
    b"<html></html>",
    b"callback({})",
    b"{} {}",
    b"\x1f\x8b\x08",
    b"NaN",
    b"undefined",
    b"[1,2,3]1",
];

/// What the standard leaves to the reader: any answer but a panic.
const OPEN: &[&[u8]] = &[
    b"[123.456e-789]", b"[0.4e00669999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999]",
    b"[-1e+9999]", b"[1.5e+9999]", b"[-123123e100000]", b"[123123e100000]", b"[123e-10000000]", b"[-123123123123123123123123123123]",
    b"[100000000000000000000]", b"[-237462374673276894279832749832423479823246327846]", b"[18446744073709551616]", b"[1e999999999999999999999]",
    b"{\"\\uDFAA\":0}", b"[\"\\uDADA\"]", b"[\"\\uD888\\u1234\"]", b"[\"\\uD800\\n\"]", b"[\"\\uDd1ea\"]", b"[\"\\uD800\\uD800\\n\"]",
    b"[\"\\ud800\"]", b"[\"\\ud800abc\"]", b"[\"\\uDd1e\\uD834\"]", b"[\"\\uDFAA\"]",
    b"[\"\x81\"]", b"[\"\xe9\"]", b"[\"\xff\"]", b"[\"\xfc\x80\x80\x80\x80\x80\"]", b"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]", b"[\"\xc0\xaf\"]",
    b"[\"\xe0\xff\"]", b"[\"\xed\xa0\x80\"]", b"[\"\xf4\xbf\xbf\xbf\"]", b"[\"\xf8\x88\x80\x80\x80\"]", b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]",
    b"\xef\xbb\xbf{}", b"\xef\xbb\xbf", b"\xff\xfe[\0\"\0\xe9\0\"\0]\0", b"[\0\"\0\xe9\0\"\0]\0", b"\0[\0\"\0\xe9\0\"\0]",
    b"\xfe\xff\0[\0]", b"\0\0\0[\0\0\0]", b"\xed\xa0\x80",
];

#[test]
fn what_is_json_is_read() {
    for body in VALID {
        for (name, read) in READERS {
            if let Err(error) = read(body) {
                panic!("{name}: {}: {error}", shown(body));
            }
        }
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let mut taken = Vec::new();
    for body in INVALID {
        for (name, read) in READERS {
            match read(body) {
                Ok(value) => taken.push(format!("{name}: {} as {value}", shown(body))),
                Err(error) => assert!(!error.is_empty(), "{name}: {}: a refusal without a word", shown(body)),
            }
        }
    }
    assert!(taken.is_empty(), "{} bodies were taken for JSON:\n{}", taken.len(), taken.join("\n"));
}

#[test]
fn bad_utf_8_never_becomes_text() {
    for body in OPEN.iter().filter(|body| std::str::from_utf8(body).is_err()) {
        for (name, read) in READERS {
            assert!(read(body).is_err(), "{name}: {}", shown(body));
        }
    }
}

#[test]
fn exact_numbers_are_read_or_refused() {
    let check = |text: &str, expected: Option<&str>| {
        let read = json::exact(text.as_bytes()).read::<Dec>().ok().map(|dec| dec.to_string());
        assert_eq!(read.as_deref(), expected, "{text}");
    };
    check("1.50", Some("1.50"));
    check("1e3", Some("1000"));
    check("-0.1E-2", Some("-0.001"));
    check("79228162514264337593543950335", Some("79228162514264337593543950335"));
    for refused in
        ["1e400", "1e-400", "-1e99999999999", "79228162514264337593543950336", "01", "1.", ".5", "+1", "-", "1e", "0x1"]
    {
        check(refused, None);
    }
}

/// 63 levels are read and 65 refused, as every depth after that, without any recursion as deep.
#[test]
fn nesting_is_bounded() {
    let nested =
        |open: &str, inner: &str, close: &str, depth| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = if open.len() > 5 { 2 } else { 1 };
        for (name, read) in READERS {
            let at = |depth: usize| read(nested(open, "1", close, depth / levels).as_bytes());
            assert!(at(json::DEPTH_MAX - 2).is_ok(), "{name}: {open}");
            for depth in [json::DEPTH_MAX + 2, 500, 100_000] {
                assert!(at(depth).is_err(), "{name}: {open} {depth} levels deep");
                assert!(read(open.repeat(depth).as_bytes()).is_err(), "{name}: {open} open {depth} times");
            }
        }
    }
}

/// Every decoder of every kind on every case, bare and inside what providers wrap their answers in.
#[test]
fn no_decoder_panics() {
    let deep: Vec<Vec<u8>> =
        ["[", "{\"a\":", "{\"data\":[", "{\"result\":{"].iter().map(|open| open.repeat(100_000).into_bytes()).collect();
    let state = State::default();
    let mut judged = 0;
    for source in SOURCES {
        for kind in source.spec().kinds {
            let mut query = Query::new(kind.kind);
            query.symbols.extend(kind.examples.iter().take(1).map(|name| tidegate::model::Symbol::new(*name)));
            query.interval = kind.intervals.first().copied();
            for case in [VALID, INVALID, OPEN].concat() {
                for (head, tail) in [("", ""), ("{\"data\":", "}"), ("{\"error\":[],\"result\":", "}"), ("[[", "]]")] {
                    let body = [head.as_bytes(), case, tail.as_bytes()].concat();
                    for status in [200, 429] {
                        judged += u32::from(
                            judge_offline(*source, &query, &state, Answer::new(status, body.clone())).is_err(),
                        );
                    }
                }
            }
            for body in &deep {
                assert!(judge_offline(*source, &query, &state, Answer::new(200, body.clone())).is_err());
            }
        }
        for prerequisite in source.prerequisites() {
            for case in [VALID, INVALID, OPEN].concat() {
                drop(source.prerequisite_decode(
                    prerequisite.name,
                    &Answer::new(200, case.to_vec()),
                    &mut State::default(),
                ));
            }
        }
    }
    assert!(judged > 10_000, "{judged} refusals");
}

/// The readers of fields and the looks at a body before it is read.
#[test]
fn no_field_reader_panics() {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(rename = "a", default, deserialize_with = "fields::levels")]
        _levels: Vec<Level>,
        #[serde(rename = "x", default, deserialize_with = "fields::present")]
        _present: Option<Option<Dec>>,
    }
    for body in [VALID, INVALID, OPEN].concat() {
        drop(fields::read_mixed::<fields::OneOrMany<Fields>>(body));
        drop(fields::read_mixed::<Vec<fields::Int>>(body));
        drop(fields::read_mixed::<Vec<fields::Int<u8>>>(body));
        drop(fields::read_mixed::<Vec<fields::Id>>(body));
        drop(fields::read_mixed::<Vec<fields::Blank<Dec>>>(body));
        drop(fields::read_mixed::<fields::Pairs<fields::Blank<fields::Int>>>(body));
        let looks = [fields::is_row(body), fields::has_key(body, "a"), json::is_array(body)];
        assert!(!(looks[0] && looks[1]), "{}: a row and an object", shown(body));
    }
}

type Read = fn(&[u8]) -> Result<Value, String>;

const READERS: &[(&str, Read)] = &[
    ("plain", |body| json::plain(body).read().map_err(|judgement| judgement.message)),
    ("exact", |body| json::exact(body).read().map_err(|judgement| judgement.message)),
];

fn shown(body: &[u8]) -> String {
    body.escape_ascii().take(80).map(char::from).collect()
}
