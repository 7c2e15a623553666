//! The layers of a configuration: defaults < file < environment < flags, laid over each other by the `config` crate.
//! Each value remembers where it stands. Invariant: a later layer replaces single keys, never whole tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Config, Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use crate::config::defaults::{ALIASES, PREFIX, SETTINGS, SOURCE_SETTINGS, variable};
use crate::config::problem::{Problem, Problems, did_you_mean};
use crate::config::{Environment, Loaded, Settings};

/// Reads the layers of one configuration.
#[derive(Debug)]
pub struct Loader<'a> {
    environment: &'a Environment,
    file: Option<File>,
    flags: Vec<Flag>,
}

#[derive(Debug)]
enum File {
    Path(PathBuf),
    Text { name: String, text: String },
}

#[derive(Debug)]
struct Flag {
    flag: &'static str,
    key: &'static str,
    text: String,
}

impl<'a> Loader<'a> {
    /// A configuration of defaults and `environment` alone.
    pub fn new(environment: &'a Environment) -> Self {
        Loader { environment, file: None, flags: Vec::new() }
    }

    /// The same with the TOML file at `path` below the environment.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(File::Path(path.into()));
        self
    }

    /// The same with a TOML text below the environment; errors call it `name`.
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.file = Some(File::Text { name: name.into(), text: text.into() });
        self
    }

    /// The same with the value of a flag above all: `flag` is how errors call it, `key` what it sets.
    pub fn flag(mut self, flag: &'static str, key: &'static str, text: impl Into<String>) -> Self {
        self.flags.push(Flag { flag, key, text: text.into() });
        self
    }

    /// Reads all layers. What is wrong is in [`Loaded::problems`]; the settings then hold defaults in its place, so
    /// that a caller can look for further problems.
    pub fn load(self) -> Loaded {
        let mut problems = Problems::default();
        let mut warnings = Vec::new();
        let mut places = BTreeMap::new();

        let mut layers = vec![defaults()];
        match &self.file {
            Some(File::Path(path)) => match std::fs::read_to_string(path) {
                Ok(text) => layers.push(file(&path.display().to_string(), &text, &mut places, &mut problems)),
                Err(error) => problems.push(Problem::new(
                    "",
                    path.display().to_string(),
                    format!("expected a configuration file: {error}"),
                )),
            },
            Some(File::Text { name, text }) => layers.push(file(name, text, &mut places, &mut problems)),
            None => {}
        }
        layers.extend(environment(self.environment, &mut places, &mut warnings));
        layers.push(Layer::default());
        for Flag { flag, key, text } in &self.flags {
            let last = layers.len() - 1;
            layers[last].insert(key, flag, text);
            places.insert((*key).to_owned(), (*flag).to_owned());
        }

        let merged = merge(layers);
        let settings = Settings::read(&merged, places, &mut problems);
        Loaded { settings, warnings, problems }
    }
}

/// Keys and values of one layer.
#[derive(Clone, Debug, Default)]
struct Layer(Map<String, Value>);

impl Layer {
    /// Sets one key; dots in it open tables.
    fn insert(&mut self, key: &str, place: &str, text: &str) {
        self.0.insert(key.to_owned(), Value::new(Some(&place.to_owned()), text));
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Lays the layers over each other, the last on top.
fn merge(layers: Vec<Layer>) -> Map<String, Value> {
    let builder = layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer));
    // Building cannot fail: no layer reads anything, and every key is set as it stands.
    let merged = builder.build().map(|config| config.cache.kind).unwrap_or_default();
    match merged {
        ValueKind::Table(table) => table,
        _ => Map::new(),
    }
}

fn defaults() -> Layer {
    let mut layer = Layer::default();
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        layer.insert(setting.key, "the default", setting.default);
    }
    layer
}

/// Reads a TOML text; values know their lines.
fn file(name: &str, text: &str, places: &mut BTreeMap<String, String>, problems: &mut Problems) -> Layer {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let line = error.span().map(|span| format!(" line {}", line_at(text, span.start))).unwrap_or_default();
            // The first line says what is wrong; the rest would show the text around it.
            let what = error.message().lines().next().unwrap_or_default();
            problems.push(Problem::new("", format!("{name}{line}"), format!("not TOML: {what}")));
        }
        return Layer::default();
    }
    let mut reader = FileReader { name, text, places };
    Layer(reader.table(document.into_inner(), ""))
}

struct FileReader<'a> {
    name: &'a str,
    text: &'a str,
    places: &'a mut BTreeMap<String, String>,
}

impl FileReader<'_> {
    fn table(&mut self, table: DeTable<'_>, path: &str) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            let place = self.place(key.span().start);
            let key = key.into_inner().into_owned();
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.places.insert(path.clone(), place.clone());
            let kind = self.value(value.into_inner(), &path, &place);
            values.insert(key, Value::new(Some(&place), kind));
        }
        values
    }

    fn value(&mut self, value: DeValue<'_>, path: &str, place: &str) -> ValueKind {
        match value {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(flag) => ValueKind::Boolean(flag),
            // What does not fit a number stays text, which the setting's form then refuses with its own words.
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => ValueKind::I64(number),
                Err(_) => ValueKind::String(number.as_str().to_owned()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => ValueKind::Float(number),
                Err(_) => ValueKind::String(number.as_str().to_owned()),
            },
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Table(table) => {
                self.places.insert(path.to_owned(), place.to_owned());
                ValueKind::Table(self.table(table, path))
            }
            DeValue::Array(items) => {
                let items = items.into_iter().enumerate().map(|(index, item)| {
                    let path = format!("{path}[{index}]");
                    let place = self.place(item.span().start);
                    self.places.insert(path.clone(), place.clone());
                    let kind = self.value(item.into_inner(), &path, &place);
                    Value::new(Some(&place), kind)
                });
                ValueKind::Array(items.collect())
            }
        }
    }

    fn place(&self, at: usize) -> String {
        format!("{} line {}", self.name, line_at(self.text, at))
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// The names of the earlier engine as one layer, and ours as the next.
fn environment(
    environment: &Environment,
    places: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> [Layer; 2] {
    let mut layers = [Layer::default(), Layer::default()];
    let variables: Vec<_> = environment.with_prefix(PREFIX).collect();
    for (name, value, place) in &variables {
        let Some(alias) = ALIASES.iter().find(|alias| alias.variable == *name) else { continue };
        let bare = value.trim().bytes().all(|byte| byte.is_ascii_digit());
        let unit = if bare { alias.unit } else { "" };
        let place = format!("{name}{place}");
        layers[0].insert(alias.key, &place, &format!("{}{unit}", value.trim()));
        places.insert(alias.key.to_owned(), place);
    }
    for (name, value, place) in &variables {
        let place = format!("{name}{place}");
        match key_of(&name[PREFIX.len()..]) {
            Some(key) => {
                layers[1].insert(&key, &place, value);
                if let Some(source) = key.strip_prefix("sources.").and_then(|rest| rest.split('.').next()) {
                    places.entry(format!("sources.{source}")).or_insert_with(|| place.clone());
                }
                places.insert(key, place);
            }
            None if ALIASES.iter().any(|alias| alias.variable == *name) => {}
            None => {
                let known: Vec<String> = SETTINGS
                    .iter()
                    .map(|setting| variable(setting.key))
                    .chain(ALIASES.iter().map(|alias| alias.variable.to_owned()))
                    .collect();
                let near = did_you_mean(name, known.iter().map(String::as_str));
                warnings.push(format!("{place}: expected the name of a setting, found an unknown one{near}"));
            }
        }
    }
    layers
}

/// The key that a variable's name without its prefix stands for; `None` when there is no such setting.
fn key_of(name: &str) -> Option<String> {
    let key = name.to_lowercase().replace("__", ".");
    if SETTINGS.iter().any(|setting| setting.key == key) {
        return Some(key);
    }
    let (source, rest) = key.strip_prefix("sources.")?.split_once('.')?;
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let known = SOURCE_SETTINGS.iter().any(|setting| setting.key == rest)
        || rest.strip_prefix("base_urls.").is_some_and(plain);
    (plain(source) && known).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_keys() {
        let check = |name: &str, key: Option<&str>| assert_eq!(key_of(name).as_deref(), key, "{name}");
        check("HTTP__KEEPALIVE", Some("http.keepalive"));
        check("DATA_DIR", Some("data_dir"));
        check("BUFFER__WHEN_FULL__QUOTE", Some("buffer.when_full.quote"));
        check("SOURCES__ALPHA_VANTAGE__TIER", Some("sources.alpha_vantage.tier"));
        check("SOURCES__BINANCE__BASE_URLS__ACCOUNT", Some("sources.binance.base_urls.account"));
        for unknown in ["HTTP", "HTTP_KEEPALIVE", "SOURCES__BINANCE", "SOURCES__BINANCE__POLLS", "SOURCES____TIER", ""] {
            check(unknown, None);
        }
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_at("a\nb\nc", 0), 1);
        assert_eq!(line_at("a\nb\nc", 4), 3);
        assert_eq!(line_at("a", 99), 1);
    }
}
