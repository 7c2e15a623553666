//! Names to addresses: lookups on threads of our own, and a cache per shard in front of them.
//! The system resolver gives no lifetime, so answers are kept for a configured time. Invariants: a lookup never blocks
//! a core; an empty answer is an error; while the resolver fails the old answer is served.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{Tasks, Workers};
use crate::time::Mono;

/// The lookup threads; cheap to clone, shared by all shards.
#[derive(Clone, Debug)]
pub struct ResolverHandle(Workers<Job>);

type Lookup = io::Result<Vec<IpAddr>>;

struct Job {
    host: String,
    reply: oneshot::Sender<Lookup>,
}

impl ResolverHandle {
    /// Starts the threads, which ask the system's resolver (`/etc/hosts`, `resolv.conf` and all).
    ///
    /// # Errors
    /// When the host refuses a thread.
    pub fn system() -> Result<Self> {
        ResolverHandle::from_fn(|host| match loopback(host) {
            Some(addresses) => Ok(addresses.to_vec()),
            None => Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()),
        })
    }

    /// Starts the threads with another way to resolve, on which it may block: tests and the simulator.
    ///
    /// # Errors
    /// When the host refuses a thread.
    pub fn from_fn(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Result<Self> {
        let workers = Workers::start("resolver", THREADS, move |job: Job| {
            // Whoever asked may have given up; a lookup without a listener is skipped.
            if !job.reply.is_canceled() {
                let _ = job.reply.send(resolve(&job.host));
            }
        });
        let refused = |error| Error::new(ErrorKind::Host, format!("cannot start a resolver thread: {error}"));
        workers.map(ResolverHandle).map_err(refused)
    }
}

/// RFC 6761 section 6.3: names under localhost are the loopback; not every system resolver knows.
pub(super) fn loopback(host: &str) -> Option<[IpAddr; 2]> {
    let is_local = host == "localhost" || host.ends_with(".localhost");
    is_local.then(|| [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)])
}

/// How long answers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// How long an answer is kept; each is spread by up to a tenth, so that hosts do not expire together.
    pub ttl: Duration,
    /// How long a failure is kept.
    pub failure_ttl: Duration,
    /// Hosts kept at most.
    pub hosts_max: usize,
}

impl Default for DnsSettings {
    fn default() -> Self {
        DnsSettings { ttl: Duration::from_secs(300), failure_ttl: Duration::from_secs(5), hosts_max: 1_024 }
    }
}

/// The cache of one shard.
#[derive(Clone)]
pub(super) struct Names(Rc<Cache>);

struct Cache {
    settings: DnsSettings,
    handle: ResolverHandle,
    tasks: Tasks,
    hosts: RefCell<HashMap<String, Entry>>,
    /// Who waits for a lookup that runs: one lookup per host at a time.
    asked: RefCell<HashMap<String, Vec<oneshot::Sender<Known>>>>,
}

/// Addresses, or the error's text.
type Known = std::result::Result<Rc<[IpAddr]>, Rc<str>>;

struct Entry {
    addresses: Rc<[IpAddr]>,
    error: Option<Rc<str>>,
    expires: Mono,
}

impl Names {
    pub(super) fn new(settings: DnsSettings, handle: ResolverHandle, tasks: Tasks) -> Self {
        Names(Rc::new(Cache { settings, handle, tasks, hosts: RefCell::default(), asked: RefCell::default() }))
    }

    /// The addresses of a host, literal addresses taken as they are.
    pub(super) async fn resolve(&self, host: &str) -> Known {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(Rc::from([literal]));
        }
        if let Some(known) = self.0.known(host, Mono::now()) {
            return known;
        }
        let (tell, told) = oneshot::channel();
        let is_first = {
            let mut asked = self.0.asked.borrow_mut();
            let waiting = asked.entry(host.to_owned()).or_default();
            waiting.push(tell);
            waiting.len() == 1
        };
        if is_first {
            // A task of its own: whoever asked first may give up while others wait.
            let (cache, host) = (self.0.clone(), host.to_owned());
            self.0.tasks.spawn(async move { cache.look_up(&host).await });
        }
        told.await.unwrap_or_else(|_| Err("the resolver is closed".into()))
    }
}

impl Cache {
    async fn look_up(&self, host: &str) {
        let (reply, answer) = oneshot::channel();
        let found = match self.handle.0.submit(Job { host: host.to_owned(), reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(io::Error::other("the lookup was ended by a panic"))),
            Err(_) => Err(io::Error::other("the queue of lookups is full")),
        };
        let known = self.learn(host, found, Mono::now(), fastrand::u64(..));
        for waiting in self.asked.borrow_mut().remove(host).unwrap_or_default() {
            let _ = waiting.send(known.clone());
        }
    }

    fn known(&self, host: &str, now: Mono) -> Option<Known> {
        let hosts = self.hosts.borrow();
        let entry = hosts.get(host).filter(|entry| now < entry.expires)?;
        Some(entry.answer())
    }

    fn learn(&self, host: &str, found: Lookup, now: Mono, random: u64) -> std::result::Result<Rc<[IpAddr]>, Rc<str>> {
        let mut hosts = self.hosts.borrow_mut();
        if hosts.len() >= self.settings.hosts_max && !hosts.contains_key(host) {
            hosts.retain(|_, entry| now < entry.expires);
            if hosts.len() >= self.settings.hosts_max {
                hosts.clear();
            }
        }
        let error: Rc<str> = match found {
            Ok(addresses) if !addresses.is_empty() => {
                let ttl = self.settings.ttl;
                let tenth = u64::try_from(ttl.as_nanos() / 10).unwrap_or(u64::MAX).max(1);
                let expires = now + ttl.saturating_sub(Duration::from_nanos(random % tenth));
                let addresses = interleaved(&addresses);
                let entry = Entry { addresses: addresses.clone(), error: None, expires };
                hosts.insert(host.to_owned(), entry);
                return Ok(addresses);
            }
            Ok(_) => format!("{host} has no address").into(),
            Err(error) => format!("cannot resolve {host}: {error}").into(),
        };
        let entry = hosts.entry(host.to_owned()).or_insert_with(|| Entry {
            addresses: Rc::from([]),
            error: None,
            expires: now,
        });
        entry.expires = now + self.settings.failure_ttl;
        entry.error = Some(error);
        entry.answer()
    }
}

impl Entry {
    /// Addresses as long as there ever were any, else the error.
    fn answer(&self) -> Known {
        match &self.error {
            Some(error) if self.addresses.is_empty() => Err(error.clone()),
            _ => Ok(self.addresses.clone()),
        }
    }
}

/// Addresses with the families in turn, the resolver's first choice first (RFC 8305 section 4), none twice.
fn interleaved(addresses: &[IpAddr]) -> Rc<[IpAddr]> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let mut first = addresses.iter().filter(|address| address.is_ipv6() == first_is_v6);
    let mut second = addresses.iter().filter(|address| address.is_ipv6() != first_is_v6);
    let mut ordered: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered.into();
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(address) && ordered.len() < ADDRESSES_MAX {
                ordered.push(*address);
            }
        }
    }
}

/// One stuck lookup must not hold up the other hosts.
const THREADS: usize = 2;
/// More addresses than any race gets through within its limit.
const ADDRESSES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let check = |given: &str, expected: &str| assert_eq!(&*interleaved(&addresses(given)), addresses(expected));
        check("", "");
        check("::1 ::2 1.1.1.1 ::1", "::1 1.1.1.1 ::2");
        check("1.1.1.1 1.1.1.2 ::1", "1.1.1.1 ::1 1.1.1.2");
    }

    #[test]
    fn answers_age_and_outlive_failures() {
        let handle = ResolverHandle::from_fn(|_| Ok(vec![])).unwrap();
        let names = Names::new(DnsSettings::default(), handle, Tasks::default()).0;
        let at = |secs: u64| Mono::from_nanos(secs * 1_000_000_000);
        let failed = || Err(io::Error::other("no"));
        assert!(names.known("a", at(0)).is_none());
        assert!(names.learn("a", failed(), at(0), 0).unwrap_err().contains("cannot resolve a"));
        assert!(names.known("a", at(4)).unwrap().is_err());
        assert!(names.known("a", at(5)).is_none());
        assert!(names.learn("a", Ok(vec![]), at(5), 0).unwrap_err().contains("no address"));
        let known = addresses("1.1.1.1");
        assert_eq!(&*names.learn("a", Ok(known.clone()), at(10), 0).unwrap(), known);
        assert_eq!(&*names.known("a", at(309)).unwrap().unwrap(), known);
        assert!(names.known("a", at(310)).is_none());
        // The resolver fails: the old answer is served, and asked for again soon.
        assert_eq!(&*names.learn("a", failed(), at(310), 0).unwrap(), known);
        assert_eq!(&*names.known("a", at(314)).unwrap().unwrap(), known);
        assert!(names.known("a", at(315)).is_none());
        // Jitter shortens by at most a tenth.
        names.learn("b", Ok(known), at(0), u64::MAX).unwrap();
        assert!(names.known("b", at(269)).is_some() && names.known("b", at(301)).is_none());
    }

    #[test]
    fn the_cache_is_bounded() {
        let handle = ResolverHandle::from_fn(|_| Ok(vec![])).unwrap();
        let names = Names::new(DnsSettings { hosts_max: 4, ..DnsSettings::default() }, handle, Tasks::default()).0;
        for index in 0..100 {
            let _ = names.learn(&format!("h{index}"), Ok(addresses("::1")), Mono::from_nanos(0), 0);
        }
        assert!(names.hosts.borrow().len() <= 4);
    }
}
