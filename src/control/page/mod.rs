//! The page for people: one document without anything from elsewhere, which shows what `/status` says.
//! Invariant: the document holds no data and no secret, so that it may be given to whoever asks; its Content-Security-
//! Policy names its own script and style by their digests, and allows nothing else to run, load or frame it.

use std::sync::LazyLock;

use base64::Engine as _;

/// The document.
pub(super) static HTML: LazyLock<String> =
    LazyLock::new(|| include_str!("page.html").replace("{{style}}", STYLE).replace("{{script}}", SCRIPT));

/// The policy that goes with it.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE)
    )
});

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole_and_asks_nobody_else() {
        assert!(HTML.contains(SCRIPT) && HTML.contains(STYLE) && !HTML.contains("{{"));
        assert!(HTML.starts_with("<!doctype html>"));
        for foreign in ["http://", "https://", "@import", "url(", "innerHTML", "eval("] {
            let found = HTML.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(foreign), "{foreign}");
        }
        assert!(POLICY.contains("default-src 'none'") && POLICY.matches("sha256-").count() == 2);
    }
}
