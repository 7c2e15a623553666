//! `tidegate run`: the engine until it is told to stop. Without a configuration it is the embedded default: the
//! simulator on loopback and every source of it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;

use crate::cli::service::Service;
use crate::cli::summary::{self, Summary};
use crate::cli::{Done, Failure, duration, log, warn_all};
use crate::config::{Environment, Loader, LogFormat, ServiceManager, Settings};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::runtime::Placement;
use crate::sim::{Sim, SimSettings};
use crate::time::Mono;

/// Run the engine until Ctrl-C or SIGTERM, or for a given time.
///
/// Without --config it runs the embedded default: the provider simulator on loopback, over HTTPS, and every source of
/// it. No keys and no network are needed.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// TOML file with sources, polls and sinks; without one, the embedded default runs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is written: journal and state; `data` when nothing sets it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Ends the run by itself after this time: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    run_for: Option<Duration>,
    /// Writes the summary to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Time that requests in flight may take when the run ends.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    grace: Duration,
}

impl Run {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let environment = Environment::process()?;
        // Before any thread starts: what asks the run to end.
        let signals = signals()?;
        let (settings, environment, sim) = self.prepare(&environment)?;
        let live = std::io::stderr().is_terminal() && settings.log.format == LogFormat::Text;
        let _log = log::start(&settings.log, live)?;
        let mut service = Service::new(ServiceManager::read(&environment, std::process::id()));
        let summary_file = self.summary.as_ref().map(|path| summary::create(path)).transpose()?;
        let targets = settings.targets.clone();
        let started = Mono::now();
        let engine = Engine::builder(settings).environment(environment).with_control().start()?;
        if let Some(sim) = &sim {
            tracing::info!(address = %sim.address(), "the embedded simulator answers for all providers");
        }
        let why = self.watch(&engine, &signals, &mut service, live, started);
        tracing::info!(why, "stopping");
        let elapsed = Mono::now().since(started);
        let finish = service.stopping(|| engine.shutdown(self.grace).wait())?;
        if let Some(sim) = sim {
            sim.stop()?;
        }
        let finish = finish?;
        let summary = Summary::of(&engine.metrics(), &finish, &targets, elapsed);
        if let Some((path, mut file)) = summary_file {
            let text = serde_json::to_vec_pretty(&summary).unwrap_or_default();
            let written = file.write_all(&text).and_then(|()| file.write_all(b"\n"));
            written.map_err(|error| Error::io("write", &path, &error))?;
        }
        let mut out = std::io::stdout().lock();
        summary.write_table(&mut out)?;
        if !finish.counts.is_balanced() || finish.counts.queued != 0 {
            let counts = finish.counts;
            return Err(Error::new(ErrorKind::Corrupt, format!("records were lost: {counts:?}")).into());
        }
        Ok(Done::Fine)
    }

    /// Settings of a configuration, or of the embedded default with its simulator running.
    fn prepare(&self, environment: &Environment) -> Result<(Settings, Environment, Option<Sim>), Failure> {
        let with_flags = |loader: Loader<'_>| match &self.data {
            Some(folder) => loader.flag("--data", "data_dir", folder.display().to_string()).load(),
            None => loader.load(),
        };
        if let Some(path) = &self.config {
            let loaded = with_flags(Loader::new(environment).file(path));
            warn_all(&loaded.warnings);
            return Ok((loaded.into_result()?, environment.clone(), None));
        }
        // The data folder is needed before the simulator's certificate can be written to it.
        let folder = with_flags(Loader::new(environment)).into_result()?.data_dir;
        crate::runtime::preflight()?;
        let listen = ([127, 0, 0, 1], 0).into();
        let sim = Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None })?;
        let ca_file = super::sim::write_ca(&folder, &sim)?;
        let text = sim.toml(ca_file.as_deref(), None)?;
        let loaded = with_flags(Loader::new(environment).text("the embedded default", text));
        warn_all(&loaded.warnings);
        Ok((loaded.into_result()?, environment.clone(), Some(sim)))
    }

    /// Waits for the end; says why it has come. On a terminal a status line is kept up to date.
    fn watch(
        &self,
        engine: &Engine,
        signals: &mpsc::Receiver<&'static str>,
        service: &mut Service,
        live: bool,
        started: Mono,
    ) -> &'static str {
        let status = super::status::StatusLine::new(live);
        loop {
            let (snapshot, now) = (engine.metrics(), Mono::now());
            service.tick(&snapshot, now);
            status.show(&snapshot);
            let left = self.run_for.map(|run_for| run_for.saturating_sub(now.since(started)));
            if left.is_some_and(|left| left.is_zero()) {
                return "time is up";
            }
            let step = left.unwrap_or(STATUS_EVERY).min(STATUS_EVERY).min(service.step());
            match signals.recv_timeout(step) {
                Ok(signal) => return signal,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(step),
            }
        }
    }
}

/// SIGINT and SIGTERM as messages. A second one ends the process at once: the journal is sound at any moment.
pub(super) fn signals() -> Result<mpsc::Receiver<&'static str>, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let refused = |error: std::io::Error| Error::new(ErrorKind::Host, format!("cannot watch for signals: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                if count > 0 {
                    eprintln!("stopped at once by a second signal; the journal is sound");
                    std::process::exit(1);
                }
                let _ = tell.send(if signal == SIGINT { "interrupted" } else { "terminated" });
            }
        })
        .map_err(refused)?;
    Ok(told)
}

const STATUS_EVERY: Duration = Duration::from_secs(1);
