//! The layers of a configuration: defaults < file < environment < flags, laid over each other by the `config` crate.
//! Each value remembers where it stands. Invariant: a later layer replaces single keys, never whole tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Config, Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use crate::config::defaults::{ALIASES, PREFIX, SETTINGS, SOURCE_SETTINGS, variable};
use crate::config::problem::{Problem, Problems, did_you_mean};
use crate::config::read::place_of;
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
        let settings = Settings::read(&merged, places, self.environment, &mut problems);
        // Merging keeps the places of values alone; of a table it is known here.
        problems.fill_places(|key| settings.place(key));
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

/// The variables as four layers: `.env` below the process's own, and in each the names of the earlier engine below ours.
fn environment(
    environment: &Environment,
    places: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> [Layer; 4] {
    let mut layers: [Layer; 4] = Default::default();
    for (name, text, place) in environment.with_prefix(PREFIX) {
        let base = if place.is_empty() { 2 } else { 0 };
        let place = format!("{name}{place}");
        if let Some(alias) = ALIASES.iter().find(|alias| alias.variable == name) {
            let bare = text.trim().bytes().all(|byte| byte.is_ascii_digit());
            let unit = if bare { alias.unit } else { "" };
            layers[base].insert(alias.key, &place, &format!("{}{unit}", text.trim()));
        } else if let Some(key) = key_of(&name[PREFIX.len()..]) {
            if let Some(source) = key.strip_prefix("sources.").and_then(|rest| rest.split('.').next()) {
                places.entry(format!("sources.{source}")).or_insert_with(|| place.clone());
            }
            layers[base + 1].insert(&key, &place, text);
        } else {
            warnings.push(unknown_variable(name, &place));
        }
    }
    for (key, value) in layers.iter().flat_map(|layer| &layer.0) {
        places.insert(key.clone(), place_of(value));
    }
    layers
}

fn unknown_variable(name: &str, place: &str) -> String {
    let own = SETTINGS.iter().map(|setting| variable(setting.key));
    let known: Vec<String> = own.chain(ALIASES.iter().map(|alias| alias.variable.to_owned())).collect();
    let near = did_you_mean(name, known.iter().map(String::as_str));
    format!("{place}: expected the name of a setting, found an unknown one{near}")
}

/// The key that a variable's name without its prefix stands for; `None` when there is no such setting.
fn key_of(name: &str) -> Option<String> {
    let key = name.to_lowercase().replace("__", ".");
    if SETTINGS.iter().any(|setting| setting.key == key) {
        return Some(key);
    }
    let (source, rest) = key.strip_prefix("sources.")?.split_once('.')?;
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let known =
        SOURCE_SETTINGS.iter().any(|setting| setting.key == rest) || rest.strip_prefix("base_urls.").is_some_and(plain);
    (plain(source) && known).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{HttpVersion, POLL_SETTINGS, PollSettings, SINK_SETTINGS, SinkSettings, SinkTarget};
    use crate::policy::WhenFull;

    #[test]
    fn variables_become_keys() {
        let check = |name: &str, key: Option<&str>| assert_eq!(key_of(name).as_deref(), key, "{name}");
        check("HTTP__KEEPALIVE", Some("http.keepalive"));
        check("DATA_DIR", Some("data_dir"));
        check("BUFFER__WHEN_FULL__QUOTE", Some("buffer.when_full.quote"));
        check("SOURCES__ALPHA_VANTAGE__TIER", Some("sources.alpha_vantage.tier"));
        check("SOURCES__BINANCE__BASE_URLS__ACCOUNT", Some("sources.binance.base_urls.account"));
        for unknown in ["HTTP", "HTTP_KEEPALIVE", "SOURCES__BINANCE", "SOURCES__BINANCE__POLLS", "SOURCES____TIER", ""]
        {
            check(unknown, None);
        }
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_at("a\nb\nc", 0), 1);
        assert_eq!(line_at("a\nb\nc", 4), 3);
        assert_eq!(line_at("a", 99), 1);
    }

    fn load(text: &str, variables: &[(&str, &str)]) -> Loaded {
        let environment = Environment::of(variables.iter().copied());
        Loader::new(&environment).text("t.toml", text).load()
    }

    fn check_problems(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
        let loaded = load(text, variables);
        let found: Vec<String> = loaded.problems.list().iter().map(Problem::to_string).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn defaults_are_what_the_table_says() {
        let settings = Settings::default();
        assert_eq!(settings.http.connections_max, 5_000);
        assert_eq!(settings.http.connections_per_host_max, 100);
        assert_eq!(settings.http.keepalive, Duration::from_secs(30));
        assert_eq!(settings.http.body_bytes_max, 32 << 20);
        assert_eq!(settings.buffer.capacity, 10_000);
        assert_eq!(settings.buffer.when_full, [WhenFull::Pause; 10]);
        assert_eq!(settings.journal.retention_bytes, 20 << 30);
        assert_eq!(settings.journal.retention_age, Duration::from_secs(30 * 86_400));
        assert_eq!(settings.breaker.open_for, Duration::from_secs(60));
        assert!(settings.sources.is_empty() && settings.sinks.is_empty());
        let tables = [SETTINGS, SOURCE_SETTINGS, POLL_SETTINGS].into_iter();
        for setting in tables.chain(SINK_SETTINGS.iter().map(|(_, settings)| *settings)).flatten() {
            let read = setting.default.is_empty() || setting.form.parse_text(setting.default).is_ok();
            assert!(read, "{}: {} is no default of its form", setting.key, setting.default);
            assert!(setting.about.ends_with('.'), "{}", setting.key);
        }
    }

    #[test]
    fn each_layer_lies_over_the_one_below() {
        let check = |text: &str, variables: &[(&str, &str)], flag: Option<&str>, expected: (usize, &str)| {
            let environment = Environment::of(variables.iter().copied());
            let mut loader = Loader::new(&environment).text("t.toml", text);
            if let Some(value) = flag {
                loader = loader.flag("--buffer", "buffer.capacity", value);
            }
            let settings = loader.load().into_result().unwrap();
            assert_eq!((settings.buffer.capacity, settings.place("buffer.capacity")), expected);
            assert_eq!(settings.buffer.high_water, if text.is_empty() { 0.8 } else { 0.5 });
        };
        let file = "[buffer]\nhigh_water = 0.5\ncapacity = 100";
        let alias = ("INGESTION_BUFFER_SIZE", "200");
        let own = ("INGESTION_BUFFER__CAPACITY", "300");
        check("", &[], None, (10_000, ""));
        check(file, &[], None, (100, "t.toml line 3"));
        check(file, &[alias], None, (200, "INGESTION_BUFFER_SIZE"));
        check(file, &[alias, own], None, (300, "INGESTION_BUFFER__CAPACITY"));
        check(file, &[alias, own], Some("400"), (400, "--buffer"));
        check(file, &[("INGESTION_BUFFER__CAPACITY", " ")], None, (100, "t.toml line 3"));
    }

    #[test]
    fn names_of_the_earlier_engine_are_read_in_their_units() {
        let variables = [
            ("INGESTION_MAX_WORKERS", "64"),
            ("INGESTION_GLOBAL_CONNECTION_LIMIT", "4000"),
            ("INGESTION_P95_LATENCY_TARGET_MS", "150"),
            ("INGESTION_THROUGHPUT_TARGET", "50000"),
            ("INGESTION_KEEPALIVE_TIMEOUT", "45"),
            ("INGESTION_BUFFER_SIZE", "20000"),
        ];
        let loaded = load("", &variables);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let settings = loaded.into_result().unwrap();
        assert_eq!(settings.in_flight_max, 64);
        assert_eq!(settings.http.connections_max, 4_000);
        assert_eq!(settings.targets.p95, Duration::from_millis(150));
        assert_eq!(settings.targets.requests_per_second, 50_000);
        assert_eq!(settings.http.keepalive, Duration::from_secs(45));
        assert_eq!(settings.buffer.capacity, 20_000);
        let settings = load("", &[("INGESTION_KEEPALIVE_TIMEOUT", "1m")]).into_result().unwrap();
        assert_eq!(settings.http.keepalive, Duration::from_secs(60));
    }

    #[test]
    fn unknown_variables_warn_and_foreign_ones_do_not() {
        let variables = [
            ("INGESTION_BUFER_SIZE", "1"),
            ("INGESTION_HTTP__KEEP_ALIVE", "1"),
            ("TIDEGATE_PORT", "tcp://10.0.0.1:80"),
        ];
        let loaded = load("", &variables);
        assert_eq!(
            loaded.warnings,
            [
                "INGESTION_BUFER_SIZE: expected the name of a setting, found an unknown one; did you mean \
                 INGESTION_BUFFER_SIZE?",
                "INGESTION_HTTP__KEEP_ALIVE: expected the name of a setting, found an unknown one; did you mean \
                 INGESTION_HTTP__KEEPALIVE?",
            ]
        );
        assert!(loaded.problems.is_empty());
    }

    #[test]
    fn all_problems_come_together_with_key_place_and_expectation() {
        check_problems(
            "data_dri = \"x\"\n[http]\nkeepalive = 30\nconnections_max = 0\n[htpp]\nx = 1\n[journal]\nsegment_bytes = \"64mib\"\n\
             enabled = \"maybe\"",
            &[("INGESTION_DNS__TTL", "30 parsecs")],
            &[
                "t.toml line 1: data_dri: expected the name of a setting, found an unknown one; did you mean data_dir?",
                "INGESTION_DNS__TTL: dns.ttl: expected a duration such as 100ms, 10s, 5m or 30d from 1s to 1d, found \"30 parsecs\"",
                "t.toml line 5: htpp: expected the name of a setting, found an unknown one; did you mean http?",
                "t.toml line 4: http.connections_max: expected a whole number from 1 to 1000000, found 0",
                "t.toml line 3: http.keepalive: expected a duration such as 100ms, 10s, 5m or 30d from 0s to 1d, found 30",
                "t.toml line 9: journal.enabled: expected true or false, found \"maybe\"",
                "t.toml line 8: journal.segment_bytes: expected a size such as 32MiB from 64KiB to 1TiB, found \"64mib\"",
            ],
        );
    }

    #[test]
    fn wrong_shapes_are_named() {
        check_problems("http = 5", &[], &["t.toml line 1: http: expected a table, found 5"]);
        check_problems(
            "[buffer]\nwhen_full = \"pause\"",
            &[],
            &["t.toml line 2: buffer.when_full: expected a table, found \"pause\""],
        );
        check_problems("sources = 1", &[], &["t.toml line 1: sources: expected a table, found 1"]);
        check_problems(
            "[sinks]\ntype = \"file\"",
            &[],
            &["t.toml line 1: sinks: expected an array of tables, written [[sinks]], found a table"],
        );
        check_problems(
            "[[sinks]]\ntype = \"fiel\"\n[[sinks]]\ntype = \"parquet\"\n[[sinks]]\n",
            &[],
            &[
                "t.toml line 2: sinks[0].type: expected one of stdout, file, parquet, http, null, found \"fiel\"; did you mean file?",
                "t.toml line 3: sinks[1].dir: expected a value, found nothing: a sink of type parquet needs it",
                "t.toml line 5: sinks[2].type: expected one of stdout, file, parquet, http, null, found nothing",
            ],
        );
        check_problems(
            "[sources.x]\npols = []\n[[sources.x.polls]]\nevery = \"1ms\"",
            &[],
            &[
                "t.toml line 2: sources.x.pols: expected the name of a setting, found an unknown one; did you mean polls?",
                "t.toml line 4: sources.x.polls[0].every: expected a duration such as 100ms, 10s, 5m or 30d from 100ms to 366d, found \
             \"1ms\"",
                "t.toml line 3: sources.x.polls[0].kind: expected a kind, found nothing",
            ],
        );
        check_problems(
            "a = 1\nb = [1,\nc",
            &[],
            &[
                "t.toml line 3: not TOML: unclosed array, expected `]`",
                "t.toml line 3: not TOML: string values must be quoted, expected literal string",
            ],
        );
        check_problems("data_dir = \"a\"\ndata_dir = \"b\"", &[], &["t.toml line 2: not TOML: duplicate key"]);
    }

    #[test]
    fn sources_polls_and_sinks_are_read() {
        let text = "[sources.a]\npolls = [{ kind = \"bar\", symbols = [\"X-Y\"], interval = \"5m\", every = \"1m\", limit = 5, \
                    offset = \"2s\" }]\nproxy = \"http://u:hunter2@p:1\"\nlocal_addresses = [\"127.0.0.2\", \"::1\"]\nhttp_version = 2\n\
                    [[sinks]]\ntype = \"file\"\npath = \"x.ndjson\"\nname = \"one\"\n[[sinks]]\ntype = \"null\"";
        let variables = [("INGESTION_SOURCES__A__DEADLINE", "3s"), ("INGESTION_SOURCES__B_C__TIER", "free")];
        let settings = load(text, &variables).into_result().unwrap();
        let [a, b] = settings.sources.as_slice() else { panic!("{:?}", settings.sources) };
        assert_eq!((a.id.as_str(), a.deadline, a.http_version), ("a", Some(Duration::from_secs(3)), HttpVersion::Two));
        assert_eq!((b.id.as_str(), b.tier.as_deref(), b.shards), ("b_c", Some("free"), 1));
        assert_eq!(settings.place("sources.b_c"), "INGESTION_SOURCES__B_C__TIER");
        assert_eq!(a.local_addresses.len(), 2);
        let poll = PollSettings {
            key: "sources.a.polls[0]".to_owned(),
            kind: "bar".to_owned(),
            symbols: vec!["X-Y".to_owned()],
            whole_market: false,
            interval: Some("5m".to_owned()),
            every: Some(Duration::from_secs(60)),
            limit: Some(5),
            offset: Some(Duration::from_secs(2)),
        };
        assert_eq!(a.polls, [poll]);
        let target = SinkTarget::File { path: "x.ndjson".into() };
        assert_eq!(settings.sinks[0], SinkSettings { key: "sinks[0]".to_owned(), name: "one".to_owned(), target });
        assert_eq!((settings.sinks[1].name.as_str(), &settings.sinks[1].target), ("null", &SinkTarget::Null));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn every_variable_of_the_table_is_read() {
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let name = variable(setting.key);
            let loaded = load("", &[(&name, setting.default)]);
            assert!(loaded.warnings.is_empty() && loaded.problems.is_empty(), "{name}");
            assert_eq!(loaded.settings.place(setting.key), name);
        }
    }
}
