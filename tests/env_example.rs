//! `.env.example` lists every variable that the loader and the sources read. `UPDATE_EXPECT=1` writes it anew.

use std::path::Path;

use tidegate::config::{SecretNote, env_example};
use tidegate::source::SOURCES;

#[test]
fn the_list_of_variables_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let notes = SOURCES.iter().flat_map(|source| {
        let spec = source.spec();
        spec.credentials.iter().map(|credential| SecretNote {
            source: spec.title,
            variable: credential.variable,
            about: credential.about,
        })
    });
    let expected = env_example(&notes.collect::<Vec<_>>());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        ".env.example differs from the loader from line {} on; UPDATE_EXPECT=1 cargo test --test env_example writes it",
        difference.unwrap_or(found.lines().count().min(expected.lines().count())) + 1
    );
}
