//! What simulated providers allow: windows, weights, headers and refusals, as their documentation gives them.
//! Written apart from the client's own quota (`policy/`, `handoff/`), so that the one checks the other. Limits are those
//! of the free plans. Invariant: a window never admits more than its limit in any span it stands for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sim::profile::Quota;
use crate::sim::routes::Asked;
use crate::time::{Mono, Now};

/// A provider whose limits are simulated.
pub struct Provider {
    /// Its source.
    pub source: &'static str,
    rules: &'static [Rule],
    /// How it says no.
    refuse: fn(&Excess) -> Refusal,
    /// What it tells of the use, on every answer.
    headers: fn(&[Use]) -> Headers,
    /// How it shuts out who goes on; none for most.
    ladder: Option<Ladder>,
}

/// One limit.
#[derive(Clone, Copy)]
struct Rule {
    /// Requests with this path; all when it is empty.
    path: &'static str,
    limit: u32,
    per: Duration,
    shape: Shape,
    weigh: fn(&Asked<'_>) -> u32,
}

#[derive(Clone, Copy)]
enum Shape {
    /// A bucket that holds so much and is filled by `limit` per `per`.
    Bucket(u32),
    /// On multiples of the length.
    Fixed,
    /// Any span of the length.
    Sliding,
}

/// Shuts out who goes on after a refusal.
#[derive(Clone, Copy)]
struct Ladder {
    /// Refusals in one pause before that happens: requests under way when the first came are forgiven.
    patience: u32,
    /// The first ban; each that recurs within a day lasts twice as long.
    first: Duration,
    longest: Duration,
}

/// Header names and values.
pub type Headers = Vec<(&'static str, String)>;

/// An answer that says no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The status; 200 for some providers.
    pub status: u16,
    /// Headers besides the content type.
    pub headers: Headers,
    /// The body.
    pub body: String,
}

/// What a refusal is about.
pub struct Excess {
    /// The limit that is used up.
    limit: u32,
    /// How long to wait.
    wait: Duration,
    /// The same moment in milliseconds since the epoch.
    until_millis: i64,
    /// Whether it is a ban.
    banned: bool,
}

/// How far a window is used.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    limit: u32,
    used: u32,
    /// When it is empty again, in seconds since the epoch.
    reset_secs: i64,
}

/// What a limiter has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitCounts {
    /// Requests refused for the pace.
    pub limited: u64,
    /// Requests refused by a ban.
    pub banned: u64,
    /// Weight admitted in each fixed window of the first rule that is over, oldest first; the last thousand.
    pub windows: Vec<u32>,
    /// The limit of that rule.
    pub limit: u32,
}

/// The limits of one source and what has been used of them.
pub struct Limiter {
    provider: &'static Provider,
    rules: Vec<(Rule, Meter)>,
    ladder: Option<Ladder>,
    /// Pause or ban in force.
    until: Mono,
    banned: bool,
    /// Requests refused in this pause.
    insisted: u32,
    level: u32,
    ban_ended: Option<Mono>,
    counts: LimitCounts,
}

#[derive(Default)]
struct Meter {
    /// Fixed: number of the window; bucket and sliding: unused.
    window: u64,
    used: u32,
    /// Sliding.
    taken: VecDeque<(Mono, u32)>,
    /// Bucket: what is missing to the brim, in weight, at `at`.
    missing: f64,
    at: Mono,
}

impl Limiter {
    /// The limiter of a source; `None` for a provider whose limits are not simulated.
    pub fn new(source: &str, quota: Quota) -> Option<Limiter> {
        let (provider, rules, scale) = match quota {
            // A limit of the user's own is refused in one form for all.
            Quota::Custom { limit, per, fixed } => {
                let shape = if fixed { Shape::Fixed } else { Shape::Sliding };
                (&PLAIN, vec![Rule { path: "", limit, per, shape, weigh: one }], 1)
            }
            Quota::Provider { scale } => {
                let provider = find(source)?;
                (provider, provider.rules.to_vec(), scale.max(1))
            }
        };
        let scaled = |rule: Rule| (Rule { per: rule.per / scale, ..rule }, Meter::default());
        let ladder = provider.ladder.map(|ladder| Ladder {
            first: ladder.first / scale,
            longest: ladder.longest / scale,
            ..ladder
        });
        Some(Limiter {
            provider,
            counts: LimitCounts { limit: rules.first().map_or(0, |rule| rule.limit), ..LimitCounts::default() },
            rules: rules.into_iter().map(scaled).collect(),
            ladder,
            until: Mono::default(),
            banned: false,
            insisted: 0,
            level: 0,
            ban_ended: None,
        })
    }

    /// Lets a request pass, with the headers of its answer, or refuses it.
    ///
    /// # Errors
    /// The answer that says no.
    pub fn admit(&mut self, asked: &Asked<'_>, now: Now) -> Result<Headers, Refusal> {
        if now.mono < self.until {
            return Err(self.insist(now));
        }
        let mut uses = Vec::new();
        let mut over: Option<(u32, Duration)> = None;
        for (rule, meter) in &mut self.rules {
            let weight = rule.weight(asked);
            let wait = meter.room(rule, weight, now, &mut self.counts);
            if weight > 0 && !wait.is_zero() && over.is_none_or(|(_, longest)| wait > longest) {
                over = Some((rule.limit, wait));
            }
        }
        if let Some((limit, wait)) = over {
            return Err(self.refuse(limit, wait, now));
        }
        for (rule, meter) in &mut self.rules {
            let weight = rule.weight(asked);
            meter.take(rule, weight, now);
            uses.push(meter.tell(rule, now));
        }
        Ok((self.provider.headers)(&uses))
    }

    /// What it has seen.
    pub fn counts(&self) -> LimitCounts {
        self.counts.clone()
    }

    fn refuse(&mut self, limit: u32, wait: Duration, now: Now) -> Refusal {
        self.insisted = 0;
        self.banned = false;
        self.counts.limited += 1;
        if let Some(ladder) = self.ladder {
            self.until = now.mono + wait;
            if ladder.patience == 0 {
                return self.ban(ladder, now);
            }
        }
        self.say(limit, wait, now)
    }

    /// A request in a pause or a ban.
    fn insist(&mut self, now: Now) -> Refusal {
        self.insisted += 1;
        match self.ladder {
            Some(ladder) if !self.banned && self.insisted > ladder.patience => return self.ban(ladder, now),
            _ if self.banned => self.counts.banned += 1,
            _ => self.counts.limited += 1,
        }
        self.say(self.counts.limit, self.until.since(now.mono), now)
    }

    fn ban(&mut self, ladder: Ladder, now: Now) -> Refusal {
        let recurs = self.ban_ended.is_some_and(|ended| now.mono.since(ended) < BAN_MEMORY);
        self.level = if recurs { (self.level + 1).min(16) } else { 0 };
        let length = ladder.first.saturating_mul(1 << self.level).min(ladder.longest);
        self.until = now.mono + length;
        self.ban_ended = Some(self.until);
        self.banned = true;
        self.counts.banned += 1;
        self.say(self.counts.limit, length, now)
    }

    fn say(&self, limit: u32, wait: Duration, now: Now) -> Refusal {
        let until_millis = now.wall.saturating_add(wait).as_millis();
        (self.provider.refuse)(&Excess { limit, wait, until_millis, banned: self.banned })
    }
}

impl Rule {
    /// What a request counts here.
    fn weight(&self, asked: &Asked<'_>) -> u32 {
        if self.path.is_empty() || self.path == asked.path { (self.weigh)(asked) } else { 0 }
    }
}

impl Meter {
    /// How long until `weight` fits; zero when it does.
    fn room(&mut self, rule: &Rule, weight: u32, now: Now, counts: &mut LimitCounts) -> Duration {
        let per = nanos(rule.per);
        match rule.shape {
            Shape::Fixed => {
                let wall = u64::try_from(now.wall.as_nanos()).unwrap_or(0);
                if wall / per != self.window {
                    if self.window != 0 && counts.windows.len() < WINDOWS_MAX {
                        counts.windows.push(self.used);
                    }
                    (self.window, self.used) = (wall / per, 0);
                }
                let fits = self.used.saturating_add(weight) <= rule.limit;
                if fits { Duration::ZERO } else { Duration::from_nanos(per - wall % per) }
            }
            Shape::Sliding => {
                while let Some((at, taken)) = self.taken.front().copied() {
                    if now.mono.since(at) < rule.per {
                        break;
                    }
                    self.used -= taken;
                    self.taken.pop_front();
                }
                if self.used.saturating_add(weight) <= rule.limit {
                    return Duration::ZERO;
                }
                let oldest = self.taken.front().map_or(now.mono, |(at, _)| *at);
                (oldest + rule.per).since(now.mono).max(Duration::from_nanos(1))
            }
            Shape::Bucket(depth) => {
                let rate = f64::from(rule.limit) / rule.per.as_secs_f64();
                self.missing = (self.missing - now.mono.since(self.at).as_secs_f64() * rate).max(0.0);
                self.at = now.mono;
                let over = self.missing + f64::from(weight) - f64::from(depth);
                if over <= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(over / rate) }
            }
        }
    }

    fn take(&mut self, rule: &Rule, weight: u32, now: Now) {
        self.used = self.used.saturating_add(weight);
        match rule.shape {
            Shape::Fixed => {}
            Shape::Sliding if weight > 0 => self.taken.push_back((now.mono, weight)),
            Shape::Sliding => {}
            Shape::Bucket(_) => self.missing += f64::from(weight),
        }
    }

    fn tell(&self, rule: &Rule, now: Now) -> Use {
        let per = nanos(rule.per);
        let end = match rule.shape {
            Shape::Fixed => (self.window + 1).saturating_mul(per) / 1_000_000_000,
            _ => now.wall.saturating_add(rule.per).as_secs().unsigned_abs(),
        };
        Use { limit: rule.limit, used: self.used, reset_secs: i64::try_from(end).unwrap_or(i64::MAX) }
    }
}

/// Whether a source's limits are simulated.
pub fn knows(source: &str) -> bool {
    find(source).is_some()
}

/// What a provider says when there were too many requests, whatever its limits.
pub fn notice(source: &str) -> Refusal {
    let wait = Duration::from_secs(1);
    (find(source).unwrap_or(&PLAIN).refuse)(&Excess { limit: 1, wait, until_millis: 0, banned: false })
}

fn find(source: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.source == source)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn one(_: &Asked<'_>) -> u32 {
    1
}

/// The weights of Binance's endpoints (rest-api.md, "Market Data endpoints").
fn binance_weight(asked: &Asked<'_>) -> u32 {
    let symbols = asked.param("symbols").map_or(0, |list| list.split(',').count());
    let is_single = asked.param("symbol").is_some();
    match asked.path {
        "/api/v3/depth" => match asked.param("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100) {
            0..=100 => 5,
            101..=500 => 25,
            501..=1_000 => 50,
            _ => 250,
        },
        "/api/v3/trades" | "/api/v3/historicalTrades" => 25,
        "/api/v3/aggTrades" => 4,
        "/api/v3/klines" | "/api/v3/uiKlines" | "/api/v3/avgPrice" => 2,
        "/api/v3/ticker/24hr" => match symbols {
            _ if is_single => 2,
            1..=20 => 2,
            21..=100 => 40,
            _ => 80,
        },
        "/api/v3/ticker/price" | "/api/v3/ticker/bookTicker" => {
            if is_single {
                2
            } else {
                4
            }
        }
        "/api/v3/exchangeInfo" | "/api/v3/account" => 20,
        _ => 1,
    }
}

fn seconds(wait: Duration) -> String {
    wait.as_millis().div_ceil(1_000).max(1).to_string()
}

fn refusal(status: u16, headers: Headers, body: impl Into<String>) -> Refusal {
    Refusal { status, headers, body: body.into() }
}

fn no_headers(_: &[Use]) -> Headers {
    Vec::new()
}

const fn rule(path: &'static str, limit: u32, secs: u64, shape: Shape) -> Rule {
    Rule { path, limit, per: Duration::from_secs(secs), shape, weigh: one }
}

/// How a limit of the user's own is refused.
static PLAIN: Provider = Provider {
    source: "",
    rules: &[],
    refuse: |excess| {
        let headers = vec![("retry-after", seconds(excess.wait))];
        refusal(429, headers, r#"{"error":"simulator: too many requests"}"#)
    },
    headers: no_headers,
    ladder: None,
};

/// The providers, in alphabetical order.
pub static PROVIDERS: &[Provider] = &[
    Provider {
        source: "alpha_vantage",
        rules: &[rule("", 25, 86_400, Shape::Fixed), rule("", 1, 1, Shape::Sliding)],
        refuse: |excess| {
            let what = if excess.limit == 1 { "1 request per second" } else { "25 requests per day" };
            let text = format!("Thank you for using Alpha Vantage! Our standard API rate limit is {what}.");
            refusal(200, Vec::new(), serde_json::json!({ "Information": text }).to_string())
        },
        headers: no_headers,
        ladder: None,
    },
    Provider {
        source: "binance",
        rules: &[Rule { weigh: binance_weight, ..rule("", 6_000, 60, Shape::Fixed) }],
        refuse: |excess| {
            let headers = vec![("retry-after", seconds(excess.wait))];
            let message = match excess.banned {
                true => format!("Way too much request weight used; IP banned until {}.", excess.until_millis),
                false => format!("Too much request weight used; current limit is {} per minute.", excess.limit),
            };
            let status = if excess.banned { 418 } else { 429 };
            refusal(status, headers, serde_json::json!({ "code": -1003, "msg": message }).to_string())
        },
        headers: |uses| {
            let used = uses[0].used.to_string();
            vec![("x-mbx-used-weight", used.clone()), ("x-mbx-used-weight-1m", used)]
        },
        ladder: Some(Ladder {
            patience: 10,
            first: Duration::from_secs(120),
            longest: Duration::from_secs(3 * 86_400),
        }),
    },
    Provider {
        source: "bybit",
        rules: &[rule("", 600, 5, Shape::Sliding)],
        refuse: |_| refusal(403, Vec::new(), "403, access too frequent"),
        headers: no_headers,
        ladder: Some(Ladder { patience: 0, first: Duration::from_secs(600), longest: Duration::from_secs(600) }),
    },
    Provider {
        source: "coinbase",
        rules: &[rule("", 10, 1, Shape::Bucket(15))],
        refuse: |_| refusal(429, Vec::new(), r#"{"message":"Public rate limit exceeded"}"#),
        headers: no_headers,
        ladder: None,
    },
    Provider {
        source: "coingecko",
        rules: &[rule("", 30, 60, Shape::Sliding)],
        refuse: |excess| {
            let headers = vec![("retry-after", seconds(excess.wait))];
            let message = "You've exceeded the Rate Limit.";
            let body = serde_json::json!({ "status": { "error_code": 429, "error_message": message } });
            refusal(429, headers, body.to_string())
        },
        headers: no_headers,
        ladder: None,
    },
    Provider {
        source: "finnhub",
        rules: &[rule("", 60, 60, Shape::Fixed), rule("", 30, 1, Shape::Fixed)],
        refuse: |excess| {
            let reset = (excess.until_millis / 1_000).to_string();
            let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset)];
            let message = "API limit reached. Please try again later. Remaining Limit: 0";
            refusal(429, headers, serde_json::json!({ "error": message }).to_string())
        },
        headers: |uses| {
            let minute = uses[0];
            vec![
                ("x-ratelimit-limit", minute.limit.to_string()),
                ("x-ratelimit-remaining", minute.limit.saturating_sub(minute.used).to_string()),
                ("x-ratelimit-reset", minute.reset_secs.to_string()),
            ]
        },
        ladder: None,
    },
    Provider {
        source: "kraken",
        // One a second is what its help says; that a few may come at once is unverified.
        rules: &[rule("", 1, 1, Shape::Bucket(5))],
        refuse: |_| refusal(200, Vec::new(), r#"{"error":["EAPI:Rate limit exceeded"]}"#),
        headers: no_headers,
        ladder: None,
    },
    Provider {
        source: "okx",
        // By address and endpoint.
        rules: &[
            rule("/api/v5/market/books", 40, 2, Shape::Sliding),
            rule("/api/v5/market/candles", 40, 2, Shape::Sliding),
            rule("/api/v5/market/history-candles", 20, 2, Shape::Sliding),
            rule("/api/v5/market/history-trades", 20, 2, Shape::Sliding),
            rule("/api/v5/market/ticker", 20, 2, Shape::Sliding),
            rule("/api/v5/market/tickers", 20, 2, Shape::Sliding),
            rule("/api/v5/market/trades", 100, 2, Shape::Sliding),
            rule("/api/v5/public/instruments", 20, 2, Shape::Sliding),
        ],
        refuse: |_| refusal(429, Vec::new(), r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#),
        headers: no_headers,
        ladder: None,
    },
    Provider {
        source: "polygon",
        rules: &[rule("", 5, 60, Shape::Fixed)],
        refuse: |_| {
            let message = "You've exceeded the maximum requests per minute, please wait or upgrade your subscription.";
            refusal(429, Vec::new(), serde_json::json!({ "status": "ERROR", "error": message }).to_string())
        },
        headers: no_headers,
        ladder: None,
    },
];

const WINDOWS_MAX: usize = 1_000;
const BAN_MEMORY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixNanos;

    fn asked(path: &str, params: &[(&str, &str)]) -> Asked<'static> {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked { base: "api", method: "GET", path: path.to_owned().leak(), params }
    }

    fn at(secs: f64) -> Now {
        let start = Now { mono: Mono::from_nanos(1), wall: UnixNanos::from_secs(1_800_000_000).unwrap() };
        start.after(Duration::from_secs_f64(secs))
    }

    fn limiter(source: &str, scale: u32) -> Limiter {
        Limiter::new(source, Quota::Provider { scale }).unwrap()
    }

    #[test]
    fn binance_counts_weight_by_the_minute_and_bans_who_goes_on() {
        let mut limiter = limiter("binance", 1);
        let book = asked("/api/v3/depth", &[("limit", "5000")]);
        for used in 1..=24 {
            let headers = limiter.admit(&book, at(10.0)).unwrap();
            assert_eq!(headers[1], ("x-mbx-used-weight-1m", (used * 250).to_string()));
        }
        let refused = limiter.admit(&book, at(10.0)).unwrap_err();
        assert_eq!((refused.status, refused.headers[0].1.as_str()), (429, "50"));
        assert!(limiter.admit(&book, at(60.0)).is_ok(), "the next minute");
        for _ in 0..23 {
            limiter.admit(&book, at(60.0)).unwrap();
        }
        for _ in 0..11 {
            assert_eq!(limiter.admit(&book, at(61.0)).unwrap_err().status, 429);
        }
        let banned = limiter.admit(&book, at(61.0)).unwrap_err();
        assert_eq!((banned.status, banned.headers[0].1.as_str()), (418, "120"));
        assert!(banned.body.contains("IP banned until 1800000181000"), "{}", banned.body);
        assert_eq!(limiter.admit(&book, at(180.9)).unwrap_err().status, 418);
        assert!(limiter.admit(&book, at(181.0)).is_ok());
        for _ in 0..35 {
            let _ = limiter.admit(&book, at(182.0));
        }
        assert_eq!(limiter.admit(&book, at(182.0)).unwrap_err().headers[0].1, "240", "a ban that recurs is longer");
        let counts = limiter.counts();
        assert_eq!((counts.limit, counts.windows), (6_000, vec![6_000, 6_000]));
    }

    #[test]
    fn windows_have_their_shapes() {
        let fits = |limiter: &mut Limiter, path: &str, times: &[f64]| {
            times.iter().filter(|secs| limiter.admit(&asked(path, &[]), at(**secs)).is_ok()).count()
        };
        // Fixed: the whole limit on both sides of a boundary; sliding: never.
        let mut fixed =
            Limiter::new("fmp", Quota::Custom { limit: 2, per: Duration::from_secs(1), fixed: true }).unwrap();
        assert_eq!(fits(&mut fixed, "/", &[0.9, 0.9, 0.9, 1.0, 1.0, 1.0]), 4);
        let mut sliding =
            Limiter::new("fmp", Quota::Custom { limit: 2, per: Duration::from_secs(1), fixed: false }).unwrap();
        assert_eq!(fits(&mut sliding, "/", &[0.5, 0.9, 0.9, 1.4, 1.5, 1.6, 1.9]), 4);
        let refused = sliding.admit(&asked("/", &[]), at(2.0)).unwrap_err();
        assert_eq!((refused.status, refused.headers[0].1.as_str()), (429, "1"));
        // A bucket: the burst at once, then the rate.
        let mut bucket = limiter("coinbase", 1);
        assert_eq!(fits(&mut bucket, "/", &[0.0; 20]), 15);
        assert_eq!(fits(&mut bucket, "/", &[0.5; 20]), 5);
        // By path.
        let mut paths = limiter("okx", 1);
        assert_eq!(fits(&mut paths, "/api/v5/market/ticker", &[0.0; 30]), 20);
        assert_eq!(fits(&mut paths, "/api/v5/market/tickers", &[0.0; 30]), 20);
        assert_eq!(fits(&mut paths, "/api/v5/market/ticker", &[2.0; 30]), 20);
        // Scaled: a minute is a second.
        let mut scaled = limiter("polygon", 60);
        assert_eq!(fits(&mut scaled, "/", &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]), 6);
    }

    #[test]
    fn every_refusal_is_read_as_one() {
        use crate::model::{Kind, Query, Verdict};
        use crate::source;
        for provider in PROVIDERS {
            let source = source::find(provider.source).unwrap();
            let mut limiter = limiter(provider.source, 1);
            let path = provider.rules[0].path;
            let said = (0..10_000).find_map(|_| limiter.admit(&asked(path, &[]), at(0.0)).err()).unwrap();
            let mut answer = crate::wire::Answer::new(said.status, said.body);
            for (name, value) in said.headers {
                answer.headers.push(name, value.as_bytes());
            }
            let (query, state, keys) = (Query::new(Kind::Ticker), source::State::default(), Default::default());
            let cx = source::Context::new(source, &query, &state, &keys, "", at(0.0).wall).unwrap();
            let mut batch = source::Batch::new(source.spec().id, at(0.0).wall);
            let verdict = source::judge(source, &cx, &answer, &mut batch).unwrap_err().verdict;
            let expected = if provider.source == "bybit" { Verdict::Banned } else { Verdict::RateLimited };
            assert_eq!(verdict, expected, "{}", provider.source);
        }
    }
}
