//! The notices to a service manager, after sd_notify(3): that the engine runs, how it does, that it ends, and a sign of
//! life for the watchdog. Without a manager nothing is sent. Invariants: no notice blocks; ready is said once, when all
//! cores run and the journal can be written; a sign of life goes out only while every shard's heartbeat is fresh.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc;
use std::time::Duration;

use crate::config::ServiceManager;
use crate::metrics::Snapshot;
use crate::time::Mono;

/// What is told of one run.
pub(super) struct Service {
    link: Option<Link>,
    ready: bool,
    told: Option<Mono>,
}

/// The way to the manager.
struct Link {
    socket: UnixDatagram,
    manager: SocketAddr,
    watchdog: Option<Duration>,
}

impl Service {
    /// Notices to `manager`. One that cannot be reached is told of in the log: the run goes on without.
    pub(super) fn new(manager: Option<ServiceManager>) -> Service {
        let link = manager.and_then(|manager| {
            let refused = |error: &io::Error| tracing::warn!(socket = manager.socket, %error, "cannot notify the service manager");
            Link::open(&manager).inspect_err(refused).ok()
        });
        Service { link, ready: false, told: None }
    }

    /// How long until the next [`Service::tick`] at most.
    pub(super) fn step(&self) -> Duration {
        match &self.link {
            None => Duration::MAX,
            Some(_) if !self.ready => START_STEP,
            Some(link) => link.interval() / 2,
        }
    }

    /// Tells what there is to tell.
    pub(super) fn tick(&mut self, snapshot: &Snapshot, now: Mono) {
        let Some(link) = &self.link else { return };
        if !self.ready && runs(snapshot) {
            // A notice that was not taken is given again.
            self.ready = link.send(&format!("READY=1\nSTATUS={}", status(snapshot)));
        }
        let due = self.told.is_none_or(|told| now.since(told) >= link.interval());
        if !due {
            return;
        }
        let life = match link.watchdog {
            Some(_) if snapshot.health.live => "WATCHDOG=1\n",
            _ => "",
        };
        if link.send(&format!("{life}STATUS={}", status(snapshot))) {
            self.told = Some(now);
        }
    }

    /// Tells that the run ends, and does `end`. Signs of life go on meanwhile: how long an end may take is another limit
    /// of the manager's.
    pub(super) fn stopping<T>(&self, end: impl FnOnce() -> T) -> T {
        let Some(link) = &self.link else { return end() };
        link.send("STOPPING=1\nSTATUS=stopping");
        if link.watchdog.is_none() {
            return end();
        }
        let (ended, told) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Err(mpsc::RecvTimeoutError::Timeout) = told.recv_timeout(link.interval()) {
                    link.send("WATCHDOG=1");
                }
            });
            let done = end();
            drop(ended);
            done
        })
    }
}

impl Link {
    fn open(manager: &ServiceManager) -> io::Result<Link> {
        let address = match manager.socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&manager.socket)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Link { socket, manager: address, watchdog: manager.watchdog })
    }

    /// Whether the manager took it.
    fn send(&self, notice: &str) -> bool {
        self.socket.send_to_addr(notice.as_bytes(), &self.manager).is_ok()
    }

    /// Between two notices: three in the watchdog's time, so that one may be lost.
    fn interval(&self) -> Duration {
        self.watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 3).min(STATUS_EVERY))
    }
}

/// Whether all that a run starts is up. What providers answer is theirs: a manager would end a run that waits for them.
fn runs(snapshot: &Snapshot) -> bool {
    snapshot.health.live && snapshot.health.reasons.iter().all(|reason| reason.what == "sources")
}

/// One line about the run.
fn status(snapshot: &Snapshot) -> String {
    let line = match snapshot.health.reasons.first() {
        Some(reason) => format!("{}: {}", reason.what, reason.why),
        None => format!(
            "{} sources, {:.0} requests/s, p95 {:.1} ms, {} alerts",
            snapshot.sources.len(),
            snapshot.total.last_10s.requests_per_second,
            snapshot.total.last_10s.latency.p95_ms,
            snapshot.alerts.iter().filter(|alert| alert.state == "firing").count(),
        ),
    };
    // A line end would begin another field.
    line.replace(char::is_control, " ")
}

/// While the start is under way.
const START_STEP: Duration = Duration::from_millis(100);
/// A person who asks sees no older line.
const STATUS_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Health, Reason};

    /// A manager, and a service that it started.
    fn started(name: &str, watchdog: Option<Duration>) -> (UnixDatagram, Service) {
        let name = format!("tidegate-service-{}-{name}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, Service::new(Some(ServiceManager { socket: format!("@{name}"), watchdog })))
    }

    fn snapshot(live: bool, reasons: &[&str]) -> Snapshot {
        let reason = |what: &&str| Reason { what: (*what).to_owned(), why: "a\nb".to_owned() };
        let reasons: Vec<Reason> = reasons.iter().map(reason).collect();
        Snapshot { health: Health { live, ready: reasons.is_empty(), reasons }, ..Snapshot::default() }
    }

    /// What has arrived, a word for each field that is no status.
    fn arrived(manager: &UnixDatagram) -> Vec<String> {
        let mut notices = Vec::new();
        let mut buffer = [0; 1_024];
        while let Ok(len) = manager.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..len]).unwrap();
            assert!(text.lines().all(|line| line.contains('=')), "{text:?}");
            notices.extend(text.lines().filter(|line| !line.starts_with("STATUS=")).map(str::to_owned));
        }
        notices
    }

    #[test]
    fn ready_is_said_once_and_not_before_everything_runs() {
        let (manager, mut service) = started("ready", None);
        let mut now = Mono::now();
        let mut tick = |snapshot: Snapshot| {
            now = now + Duration::from_secs(60);
            service.tick(&snapshot, now);
            arrived(&manager)
        };
        assert!(tick(snapshot(false, &["shard-0"])).is_empty());
        assert!(tick(snapshot(true, &["sink"])).is_empty());
        assert!(tick(snapshot(true, &["journal", "sources"])).is_empty());
        assert_eq!(tick(snapshot(true, &["sources"])), ["READY=1"]);
        assert!(tick(snapshot(true, &[])).is_empty());
        assert!(tick(snapshot(false, &["shard-0"])).is_empty());
    }

    #[test]
    fn signs_of_life_come_only_while_the_shards_live() {
        let (manager, mut service) = started("life", Some(Duration::from_secs(30)));
        let start = Mono::now();
        let mut tick = |seconds: u64, snapshot: Snapshot| {
            service.tick(&snapshot, start + Duration::from_secs(seconds));
            arrived(&manager)
        };
        assert_eq!(tick(0, snapshot(true, &[])), ["READY=1", "WATCHDOG=1"]);
        assert!(tick(9, snapshot(true, &[])).is_empty());
        assert_eq!(tick(10, snapshot(true, &[])), ["WATCHDOG=1"]);
        // What does not live says nothing, however long it takes; a sink core or journal in trouble still lives.
        assert!(tick(20, snapshot(false, &["shard-1"])).is_empty());
        assert!(tick(60, snapshot(false, &["shard-1"])).is_empty());
        assert_eq!(tick(80, snapshot(true, &["journal"])), ["WATCHDOG=1"]);
        assert!(service.step() <= Duration::from_secs(5));
    }

    #[test]
    fn an_end_is_told_and_may_take_longer_than_the_watchdog() {
        let (manager, service) = started("end", Some(Duration::from_millis(30)));
        let mut notices = Vec::new();
        let done = service.stopping(|| {
            let until = std::time::Instant::now() + Duration::from_secs(10);
            while notices.len() < 4 && std::time::Instant::now() < until {
                notices.extend(arrived(&manager));
                std::thread::yield_now();
            }
            7
        });
        assert_eq!(
            (done, &notices[..4]),
            (7, &["STOPPING=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"].map(str::to_owned)[..])
        );
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut none = Service::new(None);
        none.tick(&snapshot(true, &[]), Mono::now());
        assert_eq!((none.step(), none.stopping(|| 3)), (Duration::MAX, 3));
        // One that is gone is no trouble either, and is told as soon as it is back.
        let (manager, mut service) = started("gone", None);
        drop(manager);
        service.tick(&snapshot(true, &[]), Mono::now());
        assert!(!service.ready);
        let long = ServiceManager { socket: "/".repeat(200), watchdog: None };
        assert!(Service::new(Some(long)).link.is_none());
    }
}
