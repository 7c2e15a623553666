//! From merged values to checked ones: each key is looked up in a table of settings, read by its form, and reported
//! when it is unknown or does not fit. Invariant: after reading, every setting with a default has a value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use crate::config::Secret;
use crate::config::cpus::CpuChoice;
use crate::config::defaults::Setting;
use crate::config::form::{Parsed, Proxy, show_kind};
use crate::config::problem::{Problem, Problems, did_you_mean};

/// The values of one table.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, Parsed>);

/// One table and how errors call it.
pub(super) struct Scope<'a> {
    /// What stands before its keys: `sources.binance.`; empty for the whole.
    pub prefix: &'a str,
    /// Which settings it has.
    pub settings: &'static [Setting],
    /// Keys at its top that others read.
    pub others: &'a [&'a str],
}

impl Values {
    /// Reads `table`, adding what is wrong to `problems`.
    pub(super) fn read(table: &Map<String, Value>, scope: &Scope<'_>, problems: &mut Problems) -> Values {
        let mut values = BTreeMap::new();
        for setting in scope.settings.iter().filter(|setting| !setting.default.is_empty()) {
            if let Ok(parsed) = setting.form.parse_text(setting.default) {
                values.insert(setting.key, parsed);
            }
        }
        let mut values = Values(values);
        values.walk(table, "", scope, problems);
        values
    }

    fn walk(&mut self, table: &Map<String, Value>, path: &str, scope: &Scope<'_>, problems: &mut Problems) {
        // A map of the crate has no order; errors should have one.
        let mut keys: Vec<&String> = table.keys().collect();
        keys.sort();
        for name in keys {
            let value = &table[name];
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if scope.others.contains(&key.as_str()) {
                continue;
            }
            let inner = format!("{key}.");
            let problem = match scope.settings.iter().find(|setting| setting.key == key) {
                Some(setting) => match setting.form.parse(value) {
                    Ok(parsed) => {
                        self.0.insert(setting.key, parsed);
                        continue;
                    }
                    Err(expected) => format!("{expected}, found {}", setting.form.show(value)),
                },
                None if scope.settings.iter().any(|setting| setting.key.starts_with(&inner)) => match &value.kind {
                    ValueKind::Table(table) => {
                        self.walk(table, &key, scope, problems);
                        continue;
                    }
                    other => format!("expected a table, found {}", show_kind(other)),
                },
                None => {
                    let known = scope.settings.iter().map(|setting| setting.key).chain(scope.others.iter().copied());
                    let tables = scope.settings.iter().filter_map(|setting| Some(setting.key.split_once('.')?.0));
                    let near = did_you_mean(&key, known.chain(tables));
                    format!("expected the name of a setting, found an unknown one{near}")
                }
            };
            problems.push(Problem::new(format!("{}{key}", scope.prefix), place_of(value), problem));
        }
    }

    pub(super) fn count(&self, key: &str) -> u64 {
        self.count_opt(key).unwrap_or_else(|| no_value(key))
    }

    pub(super) fn count_opt(&self, key: &str) -> Option<u64> {
        self.find(key, |parsed| if let Parsed::Count(count) = parsed { Some(*count) } else { None })
    }

    pub(super) fn size(&self, key: &str) -> usize {
        usize::try_from(self.count(key)).unwrap_or(usize::MAX)
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        self.duration_opt(key).unwrap_or_else(|| no_value(key))
    }

    pub(super) fn duration_opt(&self, key: &str) -> Option<Duration> {
        self.find(key, |parsed| if let Parsed::Duration(time) = parsed { Some(*time) } else { None })
    }

    pub(super) fn ratio(&self, key: &str) -> f64 {
        let ratio = self.find(key, |parsed| if let Parsed::Ratio(ratio) = parsed { Some(*ratio) } else { None });
        ratio.unwrap_or_else(|| no_value(key))
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.flag_opt(key).unwrap_or_else(|| no_value(key))
    }

    pub(super) fn flag_opt(&self, key: &str) -> Option<bool> {
        self.find(key, |parsed| if let Parsed::Flag(flag) = parsed { Some(*flag) } else { None })
    }

    pub(super) fn cpus(&self, key: &str) -> CpuChoice {
        let cpus = self.find(key, |parsed| if let Parsed::Cpus(cpus) = parsed { Some(cpus.clone()) } else { None });
        cpus.unwrap_or_else(|| no_value(key))
    }

    pub(super) fn address(&self, key: &str) -> SocketAddr {
        let address = self.find(key, |parsed| if let Parsed::Address(at) = parsed { Some(*at) } else { None });
        address.unwrap_or_else(|| no_value(key))
    }

    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        self.find(key, |parsed| if let Parsed::Secret(secret) = parsed { Some(secret.clone()) } else { None })
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let list = self.find(key, |parsed| if let Parsed::List(list) = parsed { Some(list.clone()) } else { None });
        list.unwrap_or_default()
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.find(key, |parsed| if let Parsed::Path(path) = parsed { Some(path.clone()) } else { None })
    }

    pub(super) fn proxy(&self, key: &str) -> Option<Proxy> {
        self.find(key, |parsed| if let Parsed::Proxy(proxy) = parsed { Some(proxy.clone()) } else { None })
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.find(key, |parsed| if let Parsed::Text(text) = parsed { Some(text.clone()) } else { None })
    }

    fn find<T>(&self, key: &str, read: impl Fn(&Parsed) -> Option<T>) -> Option<T> {
        self.0.get(key).and_then(read)
    }
}

/// Where a value stands.
pub(super) fn place_of(value: &Value) -> String {
    value.origin().unwrap_or_default().to_owned()
}

/// A key without a default that is read as if it had one: the table and the reader differ.
fn no_value(key: &str) -> ! {
    panic!("the table of settings gives {key} no default of the form it is read by")
}
