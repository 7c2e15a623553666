//! What belongs to a source is complete: its samples on disk, its secrets in `.env.example`, its row in the README.

use std::path::Path;

use tidegate::source::SOURCES;

#[test]
fn sources_are_sorted_and_findable() {
    let ids: Vec<&str> = SOURCES.iter().map(|source| source.spec().id.as_str()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    for id in &ids {
        assert_eq!(tidegate::source::find(id).unwrap().spec().id.as_str(), *id);
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{id}");
    }
}

#[test]
fn every_source_file_is_registered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = std::fs::read_dir(root.join("src/source/samples")).unwrap();
    for folder in folders {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(tidegate::source::find(&name).is_some(), "samples of an unknown source: {name}");
    }
}

#[test]
fn samples_on_disk_are_in_the_table() {
    for source in SOURCES {
        let spec = source.spec();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/samples").join(spec.id.as_str());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == "routes.toml" || spec.sample(&name).is_some(), "{}: {name} is not in its table", spec.id);
        }
    }
}

#[test]
fn kinds_and_plans_are_sound() {
    for source in SOURCES {
        let spec = source.spec();
        assert!(!spec.kinds.is_empty() && !spec.bases.is_empty() && !spec.tiers.is_empty(), "{}", spec.id);
        for tier in spec.tiers {
            assert!(!tier.windows.is_empty(), "{}: {} has no limit", spec.id, tier.name);
        }
        for kind in spec.kinds {
            assert!(!kind.every.is_zero(), "{} {}", spec.id, kind.kind);
            assert_eq!(kind.past.ranges, kind.past.rows > 0, "{} {}: pages without rows", spec.id, kind.kind);
            let takes_symbols = kind.batching.symbols_max() > 0;
            assert!(takes_symbols || kind.examples.is_empty(), "{} {}: symbols for a kind without", spec.id, kind.kind);
        }
    }
}

#[test]
fn secrets_and_rows_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join(".env.example")).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for source in SOURCES {
        let spec = source.spec();
        for credential in spec.credentials {
            assert!(example.contains(credential.variable), ".env.example lacks {}", credential.variable);
        }
        assert!(readme.contains(&format!("| `{}`", spec.id)), "README.md lacks a row for {}", spec.id);
    }
}
