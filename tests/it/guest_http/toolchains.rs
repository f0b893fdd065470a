//! Components that other toolchains built, and that import nothing but WASI: they run unchanged.

use capstan_tests::guests;

use crate::serving;

/// The guests of `tests/guests/http`, and the language in the field `x-language` of their responses.
const GUESTS: [(&str, &str); 3] = [("http-python", "Python"), ("http-spin", "Spin"), ("http-wasmcloud", "wasmCloud")];

#[tokio::test]
async fn components_of_other_toolchains_answer() {
    for (guest, language) in GUESTS {
        let (_daemon, client) = serving(guest, &guests::compiled(guest)).await;
        let hello = client.get(&format!("/x/{guest}/hello")).send().await;
        assert_eq!((hello.status, hello.text()), (200, format!("hello from {language}\n").as_str()));
        assert_eq!(hello.header("x-language"), Some(language));
        let body: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let echo = client.post(&format!("/x/{guest}/echo")).body(body.clone()).send().await;
        assert!((echo.status, &echo.body[..]) == (200, &body[..]), "{guest}: {} bytes", echo.body.len());
        assert_eq!(client.get(&format!("/x/{guest}/other")).send().await.status, 404);
    }
}
