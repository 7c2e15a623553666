//! The route file of a source, `source/samples/<source>/routes.toml`: how the simulator serves its samples.
//!
//! ```toml
//! # Which page of the vendor's documentation each sample follows (a comment).
//!
//! [auth]                              # optional: requests without it get this answer
//! need = "header:x-finnhub-token"     # or "query:apikey"
//! except = ["/crumb"]                 # optional: path prefixes that need none
//! status = 401
//! sample = "error_401.json"
//!
//! [[route]]                           # the first route that matches answers
//! base = "api"                        # optional: name of the base URL it belongs to; the first by default
//! path = "/v8/finance/chart/{symbol}" # literal segments and {captures}; a capture takes one whole segment
//! when = { function = "GLOBAL_QUOTE", market = "*", page = "" } # optional: query parameters; "*" = present, "" = absent
//! method = "GET"                      # optional
//! status = 200                        # optional
//! headers = { set-cookie = "A3=x" }   # optional
//! sample = "chart.json"
//!
//! # Which instruments were asked for: "query:NAME" or "path:NAME" (one name), "query-comma:NAME" (a,b,c),
//! # "query-json:NAME" (["a","b"]). Several may be listed; the first that is present counts.
//! symbols = ["query-json:symbols", "query:symbol"]
//! # Where the element is that is repeated for each instrument asked for: a JSON pointer to an array, whose first element is
//! # the pattern, or to an object keyed by instrument. Without it the whole body is about one instrument.
//! each = "/result"
//! single = true                       # optional: when one instrument was asked for by a form that gives one object
//!                                     # (a bare "query:"/"path:" form), the pattern itself is the body
//! # Below, pointers are relative to the repeated element where `each` is given, else to the body. `*` stands for every
//! # index of an array or every key of an object.
//! name = ["/symbol"]                  # replaced by the instrument asked for, as it was asked
//! price = ["/lastPrice", "/bars/*/1"] # multiplied by the instrument's price walk, keeping its type and places
//! count = ["/tradeId", "/rows/*/id"]  # an integer (number or string) that grows with the wall clock: moved by seconds since
//!                                     # 2024-01-01 times the number of rows, so that ids keep their order and stay monotone
//! unique = ["/uuid"]                  # a text made unique per moment: its last characters are replaced by digits
//! step = "1m"                         # the shift of times is a whole multiple of this: a duration, or "query:interval"
//!                                     # (the value read as a duration, 1d and 1w too, a bare number as minutes), or
//!                                     # "query-seconds:granularity"; 1ms by default
//! bar = "1m"                          # the sample's bars are so long: where `step` is asked to be another length, their
//!                                     # times are as many lengths apart
//! limit = "query:limit"               # optional: where the number of rows that are asked for stands
//! holds = "1h"                        # optional: the answer is of the last whole multiple of this; it has an ETag, and a
//!                                     # request that names it is answered 304
//! rows = { "/result/list" = "first" } # the arrays it counts for, and the end that is kept of them: "first" or "last"
//!
//! [route.time]                        # all times of a body move by the same shift, so that the newest is now
//! ms = ["/closeTime"]                 # integers or strings of digits: s, ms, us, ns
//! s = []
//! rfc3339 = []                        # keeps the number of fractional digits and the Z or offset
//! date = []                           # 2024-11-01
//! "%Y-%m-%d %H:%M:%S" = []            # any other key is a strptime pattern; wall time in `zone`
//! keys = { "/Time Series (5min)" = "%Y-%m-%d %H:%M:%S" } # objects whose keys are times, with their format
//! zone = "America/New_York"           # optional, UTC by default
//!
//! [route.outer_time]                  # the same for times outside of the repeated element, pointers relative to the body
//! date = ["/date"]
//!
//! # The rows are members of one long series (`sim/series.rs`): each has its own time, id and price for good. A request with
//! # a span, an id or a page gets that part of it; any other gets the newest, as many as the sample has.
//! [route.series]
//! rows = "/observations"              # where they stand; the pointers above lead into them
//! step = "3s"                         # between two rows; the route's own by default
//! order = "descending"                # of the rows in an answer; ascending by default
//! plain_order = "descending"          # of the sample, and without a span
//! from = "query:startTime"            # where first and last moment stand (both included), and their format
//! to = "query:endTime"
//! form = "ms"                         # the default
//! after = true                        # rows begin after `from`
//! from_id = "query:fromId"            # the id that rows begin with, or end before
//! before_id = "query:after"
//! size = "query:limit"                # where the number of rows stands; with a span, so many without it, and at most
//! rows_default = 500
//! rows_max = 1000
//! grows = true                        # without a span, more rows than the sample has come when more are asked for
//! newest = true                       # of too many rows the newest are kept
//! offset = "query:offset"             # where the rows to skip stand, or the page
//! page = "query:page"
//! total = ["/count"]                  # pointers to the rows of the whole span, and to those skipped
//! skipped = ["/offset"]
//! last = "/result/last"               # which of the times is that of the last row, or of one so many rows before it
//! last_back = 1
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Interval;
use crate::sim::series::Series;
use crate::source::Spec;

/// The routes of one source, ready to match.
#[derive(Debug)]
pub struct Routes {
    /// What requests must carry.
    pub auth: Option<Auth>,
    /// In the order of the file.
    pub routes: Vec<Route>,
}

/// What requests must carry, and the answer to those that do not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    need: String,
    #[serde(default)]
    except: Vec<String>,
    /// Status of the refusal.
    pub status: u16,
    /// Body of the refusal: the name of a sample.
    pub sample: Option<String>,
}

/// One route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    base: Option<String>,
    path: String,
    #[serde(default)]
    when: BTreeMap<String, String>,
    method: Option<String>,
    /// Status of the answer.
    #[serde(default = "ok")]
    pub status: u16,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Name of the sample.
    pub sample: String,
    /// Where the instruments asked for stand.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Where the element stands that is repeated per instrument.
    pub each: Option<String>,
    /// Whether one instrument asked for in a bare form gives the element itself.
    #[serde(default)]
    pub single: bool,
    /// Pointers to the instrument's name.
    #[serde(default)]
    pub name: Vec<String>,
    /// Pointers to prices.
    #[serde(default)]
    pub price: Vec<String>,
    /// Pointers to growing integers.
    #[serde(default)]
    pub count: Vec<String>,
    /// Pointers to texts made unique.
    #[serde(default)]
    pub unique: Vec<String>,
    /// What the shift of times is a multiple of.
    pub step: Option<String>,
    /// The length of the sample's bars.
    pub bar: Option<String>,
    /// How long an answer stays as it is.
    pub holds: Option<Interval>,
    /// Where the number of rows stands.
    pub limit: Option<String>,
    /// Pointers to what it counts for, with the end that is kept.
    #[serde(default)]
    pub rows: BTreeMap<String, End>,
    /// Pointers to times, by format.
    #[serde(default)]
    pub time: Times,
    /// The same outside of the repeated element.
    #[serde(default)]
    pub outer_time: Times,
    /// How its rows go on before and behind the sample.
    pub series: Option<Series>,
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its beginning.
    First,
    /// Its end.
    Last,
}

/// Times of a sample, by format.
#[derive(Debug, Default, Deserialize)]
pub struct Times {
    /// Objects whose keys are times: pointer to format.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// The zone of wall times.
    pub zone: Option<String>,
    /// Format to pointers.
    #[serde(flatten)]
    pub formats: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    auth: Option<Auth>,
    #[serde(default)]
    route: Vec<Route>,
}

impl Routes {
    /// Reads the routes of a source.
    ///
    /// # Errors
    /// Says what is wrong with the file; the sources' tests read every one.
    pub fn of(spec: &Spec) -> Result<Routes, String> {
        let file: File = toml::from_str(spec.routes).map_err(|error| format!("{}: routes.toml: {error}", spec.id))?;
        for route in &file.route {
            if spec.sample(&route.sample).is_none() {
                return Err(format!("{}: routes.toml: {}: no sample {}", spec.id, route.path, route.sample));
            }
            if let Some(base) = &route.base
                && !spec.bases.iter().any(|known| known.name == base)
            {
                return Err(format!("{}: routes.toml: {}: no base {base}", spec.id, route.path));
            }
        }
        Ok(Routes { auth: file.auth, routes: file.route })
    }

    /// The first route that matches, with its captures.
    pub fn find<'a>(&'a self, spec: &Spec, asked: &Asked<'_>) -> Option<(&'a Route, BTreeMap<String, String>)> {
        self.routes.iter().find_map(|route| route.matches(spec, asked).map(|captures| (route, captures)))
    }
}

impl Auth {
    /// Whether a request carries what is needed.
    pub fn passes(&self, asked: &Asked<'_>, header: impl Fn(&str) -> bool) -> bool {
        if self.except.iter().any(|prefix| asked.path.starts_with(prefix.as_str())) {
            return true;
        }
        match self.need.split_once(':') {
            Some(("header", name)) => header(name),
            Some((_, name)) => asked.params.iter().any(|(key, value)| key == name && !value.is_empty()),
            None => true,
        }
    }
}

/// A request as the simulator sees it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Name of the base URL it came to.
    pub base: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path, percent-encoded, without a source prefix.
    pub path: &'a str,
    /// Query parameters, decoded, in order.
    pub params: Vec<(String, String)>,
}

impl Asked<'_> {
    /// The first value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Route {
    fn matches(&self, spec: &Spec, asked: &Asked<'_>) -> Option<BTreeMap<String, String>> {
        let base = self.base.as_deref().unwrap_or(spec.bases[0].name);
        if base != asked.base || !self.method.as_deref().unwrap_or(asked.method).eq_ignore_ascii_case(asked.method) {
            return None;
        }
        for (name, wanted) in &self.when {
            let found = asked.param(name);
            let holds = match wanted.as_str() {
                "*" => found.is_some(),
                "" => found.is_none(),
                wanted => found == Some(wanted),
            };
            if !holds {
                return None;
            }
        }
        let mut captures = BTreeMap::new();
        let (mut pattern, mut path) = (self.path.split('/'), asked.path.split('/'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return Some(captures),
                (Some(wanted), Some(found)) => capture(wanted, found, &mut captures)?,
                _ => return None,
            }
        }
    }
}

/// Matches one segment; a `{capture}` may have literal text around it.
fn capture(wanted: &str, found: &str, captures: &mut BTreeMap<String, String>) -> Option<()> {
    let Some((before, rest)) = wanted.split_once('{') else { return (wanted == found).then_some(()) };
    let (name, after) = rest.split_once('}')?;
    let inner = found.strip_prefix(before)?.strip_suffix(after)?;
    let text = percent_encoding::percent_decode_str(inner).decode_utf8_lossy().into_owned();
    if text.is_empty() {
        return None;
    }
    captures.insert(name.to_owned(), text);
    Some(())
}

fn ok() -> u16 {
    200
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    #[test]
    fn every_source_has_readable_routes() {
        for source in source::SOURCES {
            let routes = Routes::of(source.spec()).unwrap();
            assert!(!routes.routes.is_empty(), "{}", source.spec().id);
        }
    }

    #[test]
    fn segments_capture_what_stands_between_literals() {
        let check = |wanted: &str, found: &str, expected: Option<&str>| {
            let mut captures = BTreeMap::new();
            let matched = capture(wanted, found, &mut captures);
            assert_eq!(matched.and(captures.get("x").map(String::as_str)), expected, "{wanted} {found}");
        };
        check("CIK{x}.json", "CIK0000320193.json", Some("0000320193"));
        check("{x}", "BRK%2EB", Some("BRK.B"));
        check("{x}", "", None);
        check("a{x}", "b1", None);
    }
}
