use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, ReadBuf};

use super::object::{CHUNK, ObjectDecoder};
use super::*;
use crate::stream::{Source, pipe};

/// Returns the text of an error, or an empty text.
fn message(error: Option<DecodeError>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

async fn last(text: &str) -> (Value, String) {
    let Decoded { value, error } = last_object(Source::from_bytes(text.to_owned()), 100).await;
    (value.map_or(Value::Null, Value::Object), message(error))
}

async fn rows(text: &str) -> (Value, String) {
    let Decoded { value, error } = table(Source::from_bytes(text.to_owned()), 100).await;
    (serde_json::to_value(value).unwrap(), message(error))
}

#[tokio::test]
async fn last_object_returns_last_object_and_first_error() {
    for (text, value, error) in [
        ("", Value::Null, ""),
        (" \n", Value::Null, ""),
        ("{}", json!({}), ""),
        ("{\"a\":1}{\"b\":2}\n", json!({"b": 2}), ""),
        ("{\"a\":1}\n\n {\"a\":9007199254740993}", json!({"a": 9_007_199_254_740_993_u64}), ""),
        ("garbage", Value::Null, "byte 0: expected value"),
        ("{\"a\":1} \n garbage {\"b\":2}", json!({"a": 1}), "byte 10: expected value"),
        ("{\"a\":1}\n{\"b\": x}", json!({"a": 1}), "byte 14: expected value"),
        ("{\"a\":\n\n!}", Value::Null, "byte 7: expected value"),
        ("{\"a\":1} 7 {\"b\":2}", json!({"a": 1}), "byte 8: expected an object"),
        ("[{\"a\":1}]", Value::Null, "byte 0: expected an object"),
        ("{\"a\":1}{\"b\":", json!({"a": 1}), "byte 7: the stream ends inside the value that starts here"),
    ] {
        assert_eq!(last(text).await, (value, error.to_owned()), "{text:?}");
    }
}

#[tokio::test]
async fn table_decodes_array_or_sequence_of_objects() {
    let two = json!([{"a": 1}, {"b": [2, {}]}]);
    for text in [
        "[{\"a\":1},{\"b\":[2,{}]}]",
        " [ {\"a\":1} ,\n{\"b\":[2,{}]} ] \n",
        "{\"a\":1}{\"b\":[2,{}]}",
        "{\"a\":1}\n{\"b\":[2,{}]}\n",
    ] {
        assert_eq!(rows(text).await, (two.clone(), String::new()), "{text:?}");
    }
    let one = json!([{"a": 1}]);
    for (text, value, error) in [
        ("", json!([]), ""),
        ("[]", json!([]), ""),
        ("[", json!([]), "byte 0: the stream ends inside the value that starts here"),
        ("[{\"a\":1}", one.clone(), "byte 0: the stream ends inside the value that starts here"),
        ("[{\"a\":1},", one.clone(), "byte 0: the stream ends inside the value that starts here"),
        ("[{\"a\":1},]", one.clone(), "byte 9: expected value"),
        ("[{\"a\":1},7]", one.clone(), "byte 9: expected an object"),
        ("[{\"a\":1} {\"b\":2}]", one.clone(), "byte 9: expected `,` or `]`"),
        ("[{\"a\":1}] x", one.clone(), "byte 10: expected the end of the stream after the array"),
        ("{\"a\":1}x", one, "byte 7: expected value"),
    ] {
        assert_eq!(rows(text).await, (value, error.to_owned()), "{text:?}");
    }
}

#[tokio::test]
async fn value_longer_than_bound_is_an_error() {
    let long = format!("{{\"a\":1}}{{\"b\":\"{}\"}}{{\"c\":3}}", "x".repeat(100));
    assert_eq!(
        last(&long).await,
        (json!({"a": 1}), "byte 7: the value that starts here is longer than 100 bytes".to_owned())
    );
    let many = "{\"a\":1}".repeat(20);
    assert_eq!(last(&many).await, (json!({"a": 1}), String::new()), "the bound applies to each object");
    let (value, error) = rows(&many).await;
    assert_eq!(
        (value.as_array().unwrap().len(), error.as_str()),
        (14, "byte 0: the value that starts here is longer than 100 bytes")
    );
}

/// Writes invalid text and a million bytes into a small pipe, which ends only if `decode` reads all of it. Returns the error.
async fn error_after_garbage<T>(decode: impl AsyncFnOnce(Source) -> Decoded<T>) -> Option<DecodeError> {
    let (mut sink, source) = pipe(64);
    let writing = async move {
        sink.write_all(b"{\"a\":1} garbage first ").await.unwrap();
        sink.write_all(&[b'x'; 1 << 20]).await.unwrap();
    };
    tokio::join!(writing, decode(source)).1.error
}

#[tokio::test]
async fn invalid_text_does_not_block_the_writer() {
    let error = error_after_garbage(async |source| last_object(source, OBJECT_SIZE).await).await;
    assert_eq!(message(error), "byte 8: expected value");
    let error = error_after_garbage(async |source| table(source, TABLE_SIZE).await).await;
    assert_eq!(message(error), "byte 8: expected value");
    let error = error_after_garbage(async |source| table(source, 32).await).await;
    assert_eq!(message(error), "byte 8: expected value", "the syntax error comes before the limit");
}

#[tokio::test]
async fn last_object_decodes_objects_that_arrive_in_any_chunks() {
    let (mut sink, source) = pipe(1);
    let text = (0..3000).map(|number| format!("{{\"number\":{number},\"text\":\"}}{{\\\"\"}} ")).collect::<String>();
    let writing = async move { sink.write_all(text.as_bytes()).await.unwrap() };
    let ((), decoded) = tokio::join!(writing, last_object(source, 64));
    assert_eq!((message(decoded.error), &decoded.value.unwrap()["number"]), (String::new(), &json!(2999)));
}

#[tokio::test]
async fn white_space_is_not_buffered() {
    let mut decoder = ObjectDecoder::new(100);
    for _ in 0..1000 {
        decoder.buffer.extend_from_slice(&[b' '; 1000]);
        decoder.decode_complete().unwrap();
        assert!(decoder.buffer.len() <= CHUNK, "{}", decoder.buffer.len());
    }
    let blank = " ".repeat(100_000);
    assert_eq!(last(&format!("{blank}{{}}{blank}x")).await, (json!({}), "byte 200002: expected value".to_owned()));
}

/// Fails after its content.
struct FailingReader(&'static [u8]);

impl AsyncRead for FailingReader {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        buf.put_slice(self.0);
        self.0 = &[];
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn read_error_is_returned_with_decoded_values() {
    let decoded = table(FailingReader(b"{\"a\":1}{\"b\""), 100).await;
    assert!(matches!(decoded.error, Some(DecodeError::Read(_))), "{decoded:?}");
    assert_eq!(decoded.value.lines(), "{\"a\":1}\n");
    let decoded = last_object(FailingReader(b"{\"a\":1}"), 100).await;
    assert!(matches!(decoded.error, Some(DecodeError::Read(_))), "{decoded:?}");
    assert_eq!(decoded.value.unwrap()["a"], 1);
}

#[test]
fn sort_orders_numbers_by_value_and_then_text() {
    let values = [
        json!("b"),
        json!(10),
        json!("10"),
        json!(9),
        json!(9.5),
        json!(null),
        json!(-1),
        json!("a"),
        json!(true),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_992.0),
    ];
    let mut table = Table::default();
    table.rows.extend(values.into_iter().map(|value| Row::from_iter([("k".to_owned(), value)])));
    table.rows.push(Row::new());
    table.sort("k");
    let sorted: Vec<_> = table.rows.iter().map(|row| row.get("k").map_or_else(String::new, Value::to_string)).collect();
    assert_eq!(
        sorted,
        [
            "",
            "-1",
            "9",
            "9.5",
            "10",
            "9007199254740992",
            "9007199254740993",
            "9007199254740992.0",
            "\"10\"",
            "\"a\"",
            "\"b\"",
            "null",
            "true"
        ]
    );
}

#[test]
fn sort_of_mixed_values_is_a_consistent_order() {
    let mut table = Table::default();
    for number in 0..2000_u64 {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let value = match mixed % 5 {
            0 => json!(mixed % 100),
            1 => json!(format!("{}", mixed % 100)),
            2 => json!(mixed as f64),
            3 => json!(-((mixed >> 8) as i64)),
            _ => json!(format!("{}a", mixed % 100)),
        };
        table.rows.push(Row::from_iter([("k".to_owned(), value)]));
    }
    table.sort("k");
    let once = table.clone();
    table.rows.reverse();
    table.sort("k");
    let keys = |table: &Table| table.rows.iter().map(|row| row["k"].to_string()).collect::<Vec<_>>();
    assert_eq!(keys(&table), keys(&once));
}
