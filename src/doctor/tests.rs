//! Small trees for the checks' tests.

use std::path::PathBuf;

use crate::config::{Environment, Loader};
use crate::doctor::{Finding, Need, Status, Tree};

/// A tree in a folder of its own, removed at the end.
pub(super) struct Fixture(Tree);

impl Fixture {
    /// A tree of these files.
    pub(super) fn new(files: &[(&str, &str)]) -> Fixture {
        let name = format!("tidegate-doctor-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        Fixture(Tree::new(root))
    }

    /// A host of CPUs `0-7`, all allowed, with more files.
    pub(super) fn eight(files: &[(&str, &str)]) -> Fixture {
        let mut all = vec![
            ("sys/devices/system/cpu/online", "0-7"),
            ("proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\nGroups:\t0"),
        ];
        all.extend(files);
        Fixture::new(&all)
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.0
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(PathBuf::from(self.0.root()));
    }
}

/// What a configuration needs.
pub(super) fn need(toml: &str) -> Need {
    let settings = Loader::new(&Environment::default()).text("t.toml", toml).load().into_result().unwrap();
    Need { settings, extra_cores: 0 }
}

/// Holds a finding against its status and parts of its text; one that failed has to say how to mend it.
pub(super) fn check(finding: &Finding, status: Status, parts: &[&str]) {
    let text = format!("{finding} {:?}", finding.fragments);
    assert_eq!(finding.status, status, "{text}");
    assert_eq!(finding.status == Status::Failed, !finding.fix.is_empty(), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}
