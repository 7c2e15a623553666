//! What the service manager that started this process asks of it: where notices go, and how often it wants a sign of
//! life. Reads the variables of sd_notify(3) and sd_watchdog_enabled(3).

use std::time::Duration;

use crate::config::Environment;

/// A service manager that wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceManager {
    /// Its datagram socket: a path, or `@` and an abstract name.
    pub socket: String,
    /// How long it waits for a sign of life before it ends the process; `None` when it waits for none.
    pub watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started process `pid`; `None` when none did that wants to be told.
    pub fn read(environment: &Environment, pid: u32) -> Option<ServiceManager> {
        let socket = environment.variable("NOTIFY_SOCKET")?.to_owned();
        let number = |name: &str| environment.variable(name)?.parse::<u64>().ok();
        // Children inherit the variables: the watchdog is meant for the process named.
        let other = environment.variable("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !other).map(Duration::from_micros);
        Some(ServiceManager { socket, watchdog })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_says_where_and_how_often() {
        let check = |variables: &[(&str, &str)], expected: Option<(&str, Option<u64>)>| {
            let found = ServiceManager::read(&Environment::of(variables.iter().copied()), 77);
            let expected = expected.map(|(socket, seconds)| ServiceManager {
                socket: socket.to_owned(),
                watchdog: seconds.map(Duration::from_secs),
            });
            assert_eq!(found, expected, "{variables:?}");
        };
        let socket = ("NOTIFY_SOCKET", "/run/systemd/notify");
        let thirty = ("WATCHDOG_USEC", "30000000");
        check(&[], None);
        check(&[thirty], None);
        check(&[("NOTIFY_SOCKET", " ")], None);
        check(&[socket], Some(("/run/systemd/notify", None)));
        check(&[("NOTIFY_SOCKET", "@notify"), thirty], Some(("@notify", Some(30))));
        check(&[socket, thirty, ("WATCHDOG_PID", "77")], Some(("/run/systemd/notify", Some(30))));
        check(&[socket, thirty, ("WATCHDOG_PID", "78")], Some(("/run/systemd/notify", None)));
        check(&[socket, thirty, ("WATCHDOG_PID", "me")], Some(("/run/systemd/notify", None)));
        check(&[socket, ("WATCHDOG_USEC", "0")], Some(("/run/systemd/notify", None)));
        check(&[socket, ("WATCHDOG_USEC", "soon")], Some(("/run/systemd/notify", None)));
    }
}
