//! The page in a real browser: headless Chromium, driven by chromedriver through the WebDriver protocol. What it shows is
//! held against `/status`. Reported as skipped where chromedriver is not installed.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::{Engine, Folder, PATIENCE};

#[test]
fn what_it_shows_is_what_status_says() {
    let Some(browser) = Browser::start() else { return };
    let folder = Folder::new("page");
    let engine = start(&folder, &[]);
    engine.until("records", |status| status["records"]["delivered"].as_u64() > Some(100));
    browser.open(&format!("http://{}/", engine.address));
    browser.until("rows", "return document.querySelectorAll('#rows tr').length === 24");
    let seen = browser.call_back(
        "const done = arguments[0]; tidegate.pause(true);
         fetch('/status').then(answer => answer.json()).then(status => {
           tidegate.render(status);
           const text = (node, name) => node.querySelector(name).textContent;
           const rows = {};
           for (const row of document.querySelectorAll('#rows tr')) {
             rows[row.dataset.source] = Object.fromEntries(
               ['rate', 'p95', 'success', 'breaker', 'quota', 'age'].map(name => [name, text(row, '.' + name)]));
           }
           const tiles = Object.fromEntries([...document.querySelectorAll('.tile')].map(
             tile => [tile.dataset.tile, text(tile, '.value')]));
           done({ status, rows, tiles, cores: document.querySelectorAll('#cores dt').length });
         });",
    );
    let status = &seen["status"];
    let total = &status["total"];
    shows(&seen["tiles"]["rate"], &total["last_10s"]["requests_per_second"]);
    shows(&seen["tiles"]["p95"], &total["last_10s"]["latency"]["p95_ms"]);
    shows(&seen["tiles"]["records"], &total["last_10s"]["records_per_second"]);
    shows(&seen["tiles"]["buffer"], &status["buffer"]["len"]);
    shows(&seen["tiles"]["success"], &percent(&total["last_60s"]));
    let sources = status["sources"].as_object().unwrap();
    assert_eq!(sources.len(), seen["rows"].as_object().unwrap().len());
    for (name, source) in sources {
        let row = &seen["rows"][name];
        shows(&row["rate"], &source["last_10s"]["requests_per_second"]);
        if source["last_60s"]["requests"].as_u64() > Some(0) {
            shows(&row["p95"], &source["last_60s"]["latency"]["p95_ms"]);
            shows(&row["success"], &percent(&source["last_60s"]));
        }
        assert_eq!(row["breaker"], source["breaker"], "{name}");
        if let Some(age) = source["record_age_ms"].as_u64().filter(|age| *age < 60_000) {
            assert_eq!(row["age"], format!("{} s", age / 1_000), "{name}");
        }
    }
    assert!(seen["cores"].as_u64() >= status["cores"].as_array().map(|cores| cores.len() as u64));
    browser.has_told_no_error();
    let asked = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)");
    let own = format!("http://{}/", engine.address);
    assert!(asked.as_array().unwrap().iter().all(|name| name.as_str().unwrap().starts_with(&own)), "{asked}");
}

#[test]
fn a_breaker_that_opens_shows_within_two_seconds() {
    let Some(browser) = Browser::start() else { return };
    let folder = Folder::new("page-breaker");
    let engine = start(&folder, &[]);
    browser.open(&format!("http://{}/", engine.address));
    browser.until("rows", "return document.querySelectorAll('#rows tr').length === 24");
    // A machine that stands still for a second is no fault of the page: one of three is enough.
    let within = ["kraken", "okx", "gemini"].into_iter().any(|source| {
        browser.run(&format!("fetch('/breakers/{source}', {{ method: 'POST', body: 'forced_open' }})"));
        let from = Instant::now();
        browser.until(source, &format!("return {}.textContent === 'forced open'", pill(source)));
        from.elapsed() < Duration::from_secs(2)
    });
    assert!(within);
    // Steered from the page itself.
    browser.run("document.querySelector('[data-source=binance] .name button').click()");
    browser.run("document.querySelector('#orders [value=disabled]').click()");
    engine.until("the order", |status| status["sources"]["binance"]["breaker"] == "disabled");
    browser.until("what was done", "return document.getElementById('order-said').textContent.includes('disabled')");
    browser.has_told_no_error();
}

#[test]
fn words_from_outside_stay_words() {
    let Some(browser) = Browser::start() else { return };
    let folder = Folder::new("page-words");
    let engine = start(&folder, &[]);
    browser.open(&format!("http://{}/", engine.address));
    browser.until("rows", "return document.querySelectorAll('#rows tr').length === 24");
    let hostile = "</td><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    browser.run(&format!(
        "tidegate.pause(true);
         const status = structuredClone(tidegate.last()), words = {};
         Object.assign(status.sources.kraken, {{ last_error: words, last_excerpt: words }});
         status.alerts = [{{ rule: words, subject: words, severity: 'critical', state: 'firing', since: status.at, message: words }}];
         status.sinks = [{{ name: words, failing: words, lag_records: 1, lag_ms: 1 }}];
         tidegate.render(status);
         document.querySelector('[data-source=kraken] .name button').click();",
        Value::from(hostile)
    ));
    let shown = browser.run(
        "return [document.querySelector('[data-source=kraken] .error').textContent,
                 document.getElementById('dialog-error').textContent,
                 document.querySelectorAll('img, body script:not(:last-of-type)').length, document.title]",
    );
    assert_eq!(shown[0], hostile);
    assert!(shown[1].as_str().unwrap().contains(hostile));
    assert_eq!((&shown[2], shown[3].as_str().unwrap().contains("taken")), (&json!(0), false), "{shown}");
    browser.has_told_no_error();
}

#[test]
fn it_fits_a_phone_and_follows_the_light() {
    let Some(browser) = Browser::start() else { return };
    let folder = Folder::new("page-phone");
    let engine = start(&folder, &[]);
    browser.open(&format!("http://{}/", engine.address));
    browser.until("rows", "return document.querySelectorAll('#rows tr').length === 24");
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", &feature);
        grounds.push(browser.run(ground));
    }
    assert_ne!(grounds[0], grounds[1]);
    for width in [320, 390, 768, 1440] {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
        browser.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth && innerWidth");
        assert_eq!(fits, json!(width), "it scrolls sideways");
    }
}

#[test]
fn a_token_is_asked_for() {
    let Some(browser) = Browser::start() else { return };
    let folder = Folder::new("page-token");
    let engine = start(&folder, &[("INGESTION_ADMIN__TOKEN", "0123456789abcdef0123")]);
    browser.open(&format!("http://{}/", engine.address));
    browser.until("the form", "return !document.getElementById('login').hidden");
    assert_eq!(browser.run("return document.querySelectorAll('#rows tr').length"), 0);
    let give = |token: &str| {
        browser.run(&format!(
            "document.getElementById('token').value = '{token}'; document.getElementById('login').requestSubmit()"
        ))
    };
    give("0123456789abcdef0124");
    browser.until("a word", "return !document.getElementById('notice').hidden");
    give("0123456789abcdef0123");
    browser.until("rows", "return document.querySelectorAll('#rows tr').length === 24");
    browser.until("no form", "return document.getElementById('login').hidden");
}

fn start(folder: &Folder, variables: &[(&str, &str)]) -> Engine {
    let mut command = folder.command(&["--for", "120s"]);
    command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
    Engine::start(command)
}

fn pill(source: &str) -> String {
    format!("document.querySelector('[data-source={source}] .pill')")
}

fn percent(recent: &Value) -> Value {
    Value::from(100.0 * recent["success"].as_f64().unwrap() / recent["requests"].as_f64().unwrap())
}

/// Whether a text shows a number, rounded as the page rounds.
fn shows(text: &Value, value: &Value) {
    let text = text.as_str().unwrap();
    let digits = text.split(' ').next().unwrap().replace(',', "");
    let shown: f64 = digits.parse().unwrap_or_else(|_| panic!("{text}"));
    let value = value.as_f64().unwrap() / if text.ends_with(" s") { 1_000.0 } else { 1.0 };
    let places = digits.split_once('.').map_or(0, |(_, places)| places.len() as i32);
    // Shares are cut, not rounded, so that 99.999 % is never shown as all.
    let step = 10_f64.powi(-places);
    assert!((shown - value).abs() <= step, "{text} is not {value}");
}

/// A browser, and the driver that it hangs on.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// `None`, and a word on standard error, where there is no driver.
    fn start() -> Option<Browser> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = spawned else {
            eprintln!("skipped: chromedriver is not installed (Debian's chromium-driver)");
            return None;
        };
        let mut told = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(told.read_line(&mut line).unwrap() > 0, "chromedriver ended");
            if let Some((_, rest)) = line.split_once("successfully on port ") {
                break rest.trim().trim_end_matches('.').parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        let mut browser = Browser { driver, port, session: String::new() };
        // Containers have neither the name spaces of its sandbox nor much shared memory.
        let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": flags},
        }}});
        browser.session = browser.ask("/session", &wanted)["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// Runs a script and gives what it returns.
    fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a script that calls its last argument.
    fn call_back(&self, script: &str) -> Value {
        self.command("execute/async", &json!({"script": script, "args": []}))
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script) != true {
            assert!(Instant::now() < deadline, "{what}: {script}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn has_told_no_error(&self) {
        let log = self.command("se/log", &json!({"type": "browser"}));
        assert!(log.as_array().unwrap().iter().all(|entry| entry["level"] != "SEVERE"), "{log}");
    }

    fn command(&self, command: &str, parameters: &Value) -> Value {
        self.ask(&format!("/session/{}/{command}", self.session), parameters)
    }

    fn ask(&self, path: &str, parameters: &Value) -> Value {
        let body = parameters.to_string();
        let answer = self.send("POST", path, &body);
        let value = serde_json::from_str::<Value>(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(value["value"]["error"].is_null(), "{path} {body}: {value}");
        value["value"].clone()
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (port, length) = (self.port, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Has the browser end, too, also when the test has failed.
        let end = || self.send("DELETE", &format!("/session/{}", self.session), "");
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
