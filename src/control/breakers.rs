//! What `POST /breakers/{source}` says: one of four words, bare, as a form, or as JSON.

use crate::policy::Force;

/// Reads the order of a body.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn order(body: &[u8]) -> Result<Force, String> {
    let text = std::str::from_utf8(body).map_err(|_| format!("{EXPECTED}, found no UTF-8"))?.trim();
    let word = if text.starts_with('{') {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("{EXPECTED}, found broken JSON: {error}"))?;
        match value.get("state").and_then(serde_json::Value::as_str) {
            Some(word) => word.to_owned(),
            None => return Err(format!("{EXPECTED}, found JSON without a text in \"state\"")),
        }
    } else {
        text.strip_prefix("state=").unwrap_or(text).to_owned()
    };
    let found = WORDS.iter().find(|(known, _)| *known == word);
    found.map(|(_, force)| *force).ok_or_else(|| match word.is_empty() {
        true => format!("{EXPECTED}, found nothing"),
        false => format!("{EXPECTED}, found {:?}", word.chars().take(40).collect::<String>()),
    })
}

/// The words that a body may say.
pub(super) const WORDS: [(&str, Force); 4] =
    [("forced_open", Force::Open), ("closed", Force::Close), ("disabled", Force::Disable), ("auto", Force::Auto)];

const EXPECTED: &str = "expected forced_open, closed, disabled or auto, bare, as state=auto or as {\"state\":\"auto\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_in_three_forms() {
        for (word, force) in WORDS {
            for body in
                [word.to_owned(), format!(" {word}\n"), format!("state={word}"), format!("{{\"state\":\"{word}\"}}")]
            {
                assert_eq!(order(body.as_bytes()), Ok(force), "{body}");
            }
        }
        for bad in [&b""[..], b"open", b"{", b"{}", b"{\"state\":1}", b"state=", b"\xff", b"{\"state\":\"open\"}"] {
            assert!(order(bad).unwrap_err().starts_with("expected forced_open"), "{bad:?}");
        }
        assert!(order(&[b'x'; 4_000]).unwrap_err().len() < 300);
    }
}
