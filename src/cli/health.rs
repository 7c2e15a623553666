//! `tidegate health`: whether a running engine lives, or delivers, as its admin server says. For health checks of
//! containers, which have no other client. Exit status 0 = yes, 1 = no or no answer.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::cli::admin::Target;
use crate::cli::{Done, Failure, duration};
use crate::error::{Error, ErrorKind};
use crate::metrics::Health;

/// Ask a running engine on this host whether it lives; exit status 1 when it does not, or does not answer.
///
/// Asks the admin server at admin.listen of the configuration and the environment.
#[derive(Args, Debug)]
pub struct AskHealth {
    #[command(flatten)]
    target: Target,
    /// Asks whether it delivers, not only whether it lives.
    #[arg(long)]
    ready: bool,
    /// Time for the answer.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    timeout: Duration,
}

impl AskHealth {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let server = self.target.find()?;
        let (path, word) = if self.ready { ("/readyz", "ready") } else { ("/livez", "live") };
        let (status, body) = server.ask(path, self.timeout)?;
        let mut out = io::stdout().lock();
        match status {
            200 => writeln!(out, "{word}")?,
            503 => writeln!(out, "not {word}{}", reasons(&body))?,
            other => {
                let why = format!(
                    "expected status 200 or 503 for {path} of {}, found {other}; is that an admin server?",
                    server.address
                );
                return Err(Error::new(ErrorKind::Io, why).into());
            }
        }
        Ok(if status == 200 { Done::Fine } else { Done::Failed })
    }
}

/// Why not, as far as it is told.
fn reasons(body: &[u8]) -> String {
    let health: Health = serde_json::from_slice(body).unwrap_or_default();
    let reasons: Vec<String> = health.reasons.iter().map(|reason| format!("{}: {}", reason.what, reason.why)).collect();
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told() {
        let body =
            br#"{"live":true,"ready":false,"reasons":[{"what":"sink","why":"late"},{"what":"journal","why":"full"}]}"#;
        assert_eq!(reasons(body), ": sink: late; journal: full");
        assert_eq!(reasons(b"<html>"), "");
    }
}
