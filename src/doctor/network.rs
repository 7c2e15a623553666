//! The network: ports, backlogs and buffers of the kernel; names and TLS of the configured sources.

use crate::doctor::finding::{Check, Finding, Target, size};
use crate::doctor::{HostFacts, Need, Tree};

/// Ports for outgoing connections.
pub(super) fn ephemeral_ports(tree: &Tree, need: &Need) -> Finding {
    let check = Check::advised(
        "ephemeral_ports",
        "each connection to one address takes a port, and keeps it 60 s after its end",
    );
    let connections = need.settings.http.connections_max as u64;
    let count = (2 * connections).min(PORTS_MAX);
    let expected = format!("at least {count} for http.connections_max = {connections}");
    let path = "proc/sys/net/ipv4/ip_local_port_range";
    let Some([first, last]) = tree.numbers(path).as_deref().and_then(|numbers| numbers.first_chunk().copied()) else {
        return check.unknown(expected);
    };
    let ports = (last + 1).saturating_sub(first);
    let current = format!("{ports} ({first} to {last})");
    if ports >= count {
        return check.ok(current, expected);
    }
    let line = "net.ipv4.ip_local_port_range=\"10240 65535\"";
    check
        .failed(current, expected, "widen the range; `tuning/apply.sh --yes` does")
        .fragment(Target::Shell, format!("sysctl -w {line}"))
        .fragment(Target::Docker, format!("--sysctl {line}"))
        .fragment(
            Target::Kubernetes,
            "securityContext:\n  sysctls:\n    - name: net.ipv4.ip_local_port_range\n      value: \"10240 65535\"",
        )
}

/// Connections that wait to be accepted.
pub(super) fn somaxconn(tree: &Tree) -> Finding {
    let check = Check::advised("somaxconn", "the simulator and the admin endpoint accept no longer queue than this");
    let expected = format!("at least {BACKLOG}");
    match tree.number("proc/sys/net/core/somaxconn") {
        None => check.unknown(expected),
        Some(count) if count >= BACKLOG => check.ok(count.to_string(), expected),
        Some(count) => check
            .failed(count.to_string(), expected, "raise it; `tuning/apply.sh --yes` does")
            .fragment(Target::Shell, "sysctl -w net.core.somaxconn=4096")
            .fragment(Target::Docker, "--sysctl net.core.somaxconn=4096")
            .fragment(
                Target::Kubernetes,
                "# with --allowed-unsafe-sysctls=net.core.somaxconn on the node\nsecurityContext:\n  sysctls:\n    - name: \
                 net.core.somaxconn\n      value: \"4096\"",
            ),
    }
}

/// How far the kernel lets a socket's buffers grow.
pub(super) fn socket_buffers(tree: &Tree) -> Finding {
    let check = Check::advised("socket_buffers", "a body cannot come faster than one receive buffer a round trip");
    let expected = format!("receive up to {}, send up to {}", size(RECEIVE), size(SEND));
    let most = |name: &str| tree.numbers(&format!("proc/sys/net/ipv4/{name}"))?.get(2).copied();
    let (Some(receive), Some(send)) = (most("tcp_rmem"), most("tcp_wmem")) else { return check.unknown(expected) };
    let current = format!("receive up to {}, send up to {}", size(receive), size(send));
    if receive >= RECEIVE && send >= SEND {
        return check.ok(current, expected);
    }
    let (receive, send) = ("4096 131072 6291456", "4096 16384 4194304");
    check
        .failed(current, expected, "raise the third number of each; `tuning/apply.sh --yes` does")
        .fragment(
            Target::Shell,
            format!("sysctl -w net.ipv4.tcp_rmem=\"{receive}\" net.ipv4.tcp_wmem=\"{send}\""),
        )
        .fragment(
            Target::Docker,
            format!("--sysctl net.ipv4.tcp_rmem=\"{receive}\" --sysctl net.ipv4.tcp_wmem=\"{send}\""),
        )
        .fragment(
            Target::Kubernetes,
            format!(
                "# safe from Kubernetes 1.32; before, with --allowed-unsafe-sysctls on the node\nsecurityContext:\n  sysctls:\n    \
                 - name: net.ipv4.tcp_rmem\n      value: \"{receive}\"\n    - name: net.ipv4.tcp_wmem\n      value: \"{send}\""
            ),
        )
}

/// The name of a source's host.
pub(super) fn name(host: &HostFacts) -> Finding {
    let check = Check::advised("name", "a source whose name has no address answers nothing");
    let HostFacts { source, authority, addresses, .. } = host;
    let expected = format!("an address for {authority} ({source})");
    match addresses {
        Ok(count) => check.ok(format!("{count} for {authority}"), expected),
        Err(why) => check
            .failed(why.clone(), expected, "look at /etc/resolv.conf and /etc/hosts, or at the source's base_url")
            .fragment(Target::Docker, "--dns 1.1.1.1")
            .fragment(Target::Kubernetes, "dnsPolicy: ClusterFirst"),
    }
}

/// TLS with a source's host; nothing for plain HTTP.
pub(super) fn tls(host: &HostFacts) -> Option<Finding> {
    let check = Check::advised("tls", "a source is asked over a verified session alone");
    let HostFacts { source, authority, tls, .. } = host;
    let expected = format!("a verified session with {authority} ({source})");
    Some(match tls.as_ref()? {
        Ok(session) => check.ok(format!("{session} with {authority}"), expected),
        Err(why) => check.failed(
            why.clone(),
            expected,
            "open the way to it in the firewall; behind a proxy that signs anew, name its authority in tls.ca_file",
        ),
    })
}

/// What there is of ports that no privilege is needed for.
const PORTS_MAX: u64 = 50_000;
const BACKLOG: u64 = 1_024;
/// A body of 32 MiB within the 15 s that it may take, at a round trip of 200 ms.
const RECEIVE: u64 = 1 << 20;
const SEND: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::doctor::tests::{Fixture, check, need};

    #[test]
    fn ports_are_enough_for_the_connections() {
        let path = "proc/sys/net/ipv4/ip_local_port_range";
        let of = |range: &str, toml: &str| ephemeral_ports(Fixture::new(&[(path, range)]).tree(), &need(toml));
        check(&of("32768\t60999", ""), Status::Ok, &["28232 (32768 to 60999)"]);
        check(&of("60000\t60999", ""), Status::Failed, &["at least 10000", "1000 (60000 to 60999)", "--sysctl"]);
        check(&of("32768\t60999", "[http]\nconnections_max = 20000"), Status::Failed, &["at least 40000"]);
        check(&of("1024\t65535", "[http]\nconnections_max = 1000000"), Status::Ok, &[]);
        check(&of("none", ""), Status::Unknown, &[]);
        check(&ephemeral_ports(Fixture::new(&[]).tree(), &need("")), Status::Unknown, &[]);
    }

    #[test]
    fn the_backlog_is_long_enough() {
        let of = |text: &str| somaxconn(Fixture::new(&[("proc/sys/net/core/somaxconn", text)]).tree());
        check(&of("4096"), Status::Ok, &["4096"]);
        check(&of("1024"), Status::Ok, &[]);
        check(&of("128"), Status::Failed, &["sysctl -w net.core.somaxconn", "allowed-unsafe-sysctls"]);
        check(&somaxconn(Fixture::new(&[]).tree()), Status::Unknown, &[]);
    }

    #[test]
    fn buffers_may_grow() {
        let of = |receive: &str, send: &str| {
            let files = [("proc/sys/net/ipv4/tcp_rmem", receive), ("proc/sys/net/ipv4/tcp_wmem", send)];
            socket_buffers(Fixture::new(&files).tree())
        };
        check(&of("4096\t131072\t6291456", "4096\t16384\t4194304"), Status::Ok, &["6 MiB", "4 MiB"]);
        check(
            &of("4096\t87380\t212992", "4096\t16384\t4194304"),
            Status::Failed,
            &["208 KiB", "--sysctl net.ipv4.tcp_rmem=", "name: net.ipv4.tcp_wmem"],
        );
        check(&of("4096\t131072\t6291456", "4096\t16384\t65536"), Status::Failed, &["64 KiB"]);
        check(&of("4096", "4096"), Status::Unknown, &[]);
    }

    #[test]
    fn names_and_sessions_are_told() {
        let host = |addresses: Result<usize, &str>, tls: Option<Result<&str, &str>>| HostFacts {
            source: "kraken".to_owned(),
            authority: "api.kraken.com:443".to_owned(),
            addresses: addresses.map_err(str::to_owned),
            tls: tls.map(|tls| tls.map(str::to_owned).map_err(str::to_owned)),
        };
        let good = host(Ok(2), Some(Ok("TLS 1.3, h2")));
        check(&name(&good), Status::Ok, &["2 for api.kraken.com:443"]);
        check(&tls(&good).unwrap(), Status::Ok, &["TLS 1.3, h2 with"]);
        let bad = host(Err("no such host"), Some(Err("expired")));
        check(&name(&bad), Status::Failed, &["no such host", "(kraken)", "resolv.conf"]);
        check(&tls(&bad).unwrap(), Status::Failed, &["expired", "tls.ca_file"]);
        assert!(tls(&host(Ok(1), None)).is_none());
    }
}
