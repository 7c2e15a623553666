//! The text of `.env.example`: every variable there is, with its default and unit, from the loader's own tables.

use std::fmt::Write;

use crate::config::defaults::{ALIASES, PREFIX, SETTINGS, SINK_SETTINGS, SOURCE_SETTINGS, Setting, variable};

/// A variable of a source, for the list.
#[derive(Clone, Copy, Debug)]
pub struct SecretNote<'a> {
    /// The provider's name.
    pub source: &'a str,
    /// The variable.
    pub variable: &'a str,
    /// What it is.
    pub about: &'a str,
}

/// Writes the list. Settings stand commented out at their defaults; secrets are empty, which is the same as not set.
pub fn env_example(secrets: &[SecretNote<'_>]) -> String {
    let mut out = String::from(HEAD);
    let mut source = "";
    for note in secrets {
        if note.source != source {
            let _ = writeln!(out, "\n# {}", note.source);
            source = note.source;
        }
        let _ = writeln!(out, "# {}\n{}=", note.about, note.variable);
    }
    out.push_str(SETTINGS_HEAD);
    let mut table = "";
    for setting in SETTINGS {
        let found = setting.key.split_once('.').map_or("", |(table, _)| table);
        if found != table {
            table = found;
            let _ = writeln!(out, "\n# [{table}]");
        }
        line(&mut out, setting, &variable(setting.key));
    }
    out.push_str(SOURCES_HEAD);
    for setting in SOURCE_SETTINGS {
        line(&mut out, setting, &format!("{PREFIX}SOURCES__<ID>__{}", setting.key.to_uppercase()));
    }
    let _ = writeln!(out, "# The same for another of the provider's addresses, by its name. (address, http or https)");
    let _ = writeln!(out, "# {PREFIX}SOURCES__<ID>__BASE_URLS__<NAME>=");
    out.push_str(SINKS_HEAD);
    for (name, settings) in SINK_SETTINGS {
        let _ = writeln!(out, "# type = \"{name}\"");
        for setting in settings.iter().filter(|setting| setting.key != "type") {
            let default = if setting.default.is_empty() { "" } else { &format!(", default {}", setting.default) };
            let _ = writeln!(out, "#   {}: {} ({}{default})", setting.key, setting.about, setting.form.unit());
        }
        if *name == "http" {
            let _ = writeln!(out, "#   headers: Headers of every request. (table of texts)");
        }
    }
    out.push_str(ALIASES_HEAD);
    for alias in ALIASES {
        let unit = match alias.unit {
            "" => String::new(),
            unit => format!(" (a bare number is in {unit})"),
        };
        let default = SETTINGS.iter().find(|setting| setting.key == alias.key).map_or("", |setting| setting.default);
        let bare = default.strip_suffix(alias.unit).unwrap_or(default);
        let _ = writeln!(out, "# {}{unit}\n# {}={bare}", variable(alias.key), alias.variable);
    }
    out
}

fn line(out: &mut String, setting: &Setting, variable: &str) {
    let _ = writeln!(out, "# {} ({})\n# {variable}={}", setting.about, setting.form.unit(), setting.default);
}

const HEAD: &str = "\
# Every variable that tidegate reads. Copy this file to .env and fill in what you need.
#
# What counts, first to last: flags, the process's environment, this file, the TOML file, the defaults. An empty value is
# the same as none. In this file single quotes keep a value as it is; without them $NAME is replaced.
#
# Secrets. For each variable X there are also: X_FILE, the path of a file that holds the secret, and a systemd
# credential called X or x. The first that is set counts: X, X_FILE, the credential, then X and X_FILE in .env.
";

const SETTINGS_HEAD: &str = "
# Settings, commented out at their defaults. A file has them as keys: INGESTION_HTTP__KEEPALIVE is keepalive in [http].
# Polls and sinks are set in a file alone.

";

const SOURCES_HEAD: &str = "
# [sources.<id>]: for each source, with its id in upper case: INGESTION_SOURCES__BINANCE__TIER
";

const SINKS_HEAD: &str = "
# [[sinks]]: in a file alone. A header of an http sink takes its secret from a variable of any name by ending in
# env:NAME, as in { Authorization = \"Bearer env:CLICKHOUSE_TOKEN\" }; NAME_FILE and a systemd credential do as well.
";

const ALIASES_HEAD: &str = "
# Names of the earlier engine, still read; the name above each wins when both are set.
";
