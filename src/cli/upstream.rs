//! Whom a one-off command asks: the provider, another address, or the embedded simulator; and the small engine for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::{Failure, warn_all};
use crate::config::{Environment, Loader, Settings};
use crate::engine::{Engine, EngineBuilder, Finish};
use crate::runtime::{self, Placement};
use crate::sim::{Sim, SimSettings};

/// Flags that choose the upstream of a one-off command.
#[derive(Args, Debug)]
pub(super) struct Upstream {
    /// Address to ask instead of the provider's own.
    #[arg(long, value_name = "URL", conflicts_with = "sim")]
    base_url: Option<String>,
    /// Asks the embedded simulator.
    #[arg(long)]
    sim: bool,
    /// PEM file of an authority to trust besides Mozilla's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// TOML file with the source's settings.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["base_url", "sim"])]
    config: Option<PathBuf>,
}

/// A small engine without polls, and the simulator it asks, if any.
pub(super) struct OneOff {
    /// The engine.
    pub(super) engine: Engine,
    sim: Option<Sim>,
}

impl Upstream {
    /// Starts an engine with `source` alone. Only one that asks a provider itself keeps state: its quota and its bans.
    pub(super) fn engine(&self, source: &str) -> Result<OneOff, Failure> {
        let (settings, prepared) = self.prepare(source, None)?;
        let is_other = self.sim || self.base_url.is_some();
        prepared.start(settings, |builder| {
            let builder = builder.drain_by_caller();
            if is_other { builder.stateless() } else { builder.unlocked() }
        })
    }

    /// Settings for an engine with `source` that writes into a data directory, and what it asks.
    pub(super) fn prepare(&self, source: &str, data: Option<&Path>) -> Result<(Settings, Prepared), Failure> {
        let environment = Environment::process()?;
        runtime::preflight()?;
        let sim = if self.sim {
            let listen = ([127, 0, 0, 1], 0).into();
            Some(Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None })?)
        } else {
            None
        };
        let table = format!("[sources.{source}]\n");
        let text = match (&sim, &self.base_url) {
            (Some(sim), _) => {
                let urls = sim.base_urls().into_iter().filter(|(id, _, _)| *id == source);
                let urls: Vec<String> =
                    urls.map(|(_, base, url)| format!("{base} = {}", toml::Value::from(url))).collect();
                let contact = "contact = \"simulator@localhost\"\n";
                format!("{contact}{table}simulated_keys = true\nbase_urls = {{ {} }}\n", urls.join(", "))
            }
            (None, Some(url)) => format!("{table}base_url = {}\n", toml::Value::from(url.as_str())),
            (None, None) => table,
        };
        let mut loader = Loader::new(&environment);
        loader = match &self.config {
            Some(path) => loader.file(path),
            None => loader.text("the command line", text),
        };
        if let Some(path) = &self.ca_file {
            loader = loader.flag("--ca-file", "tls.ca_file", path.display().to_string());
        }
        if let Some(folder) = data {
            loader = loader.flag("--data", "data_dir", folder.display().to_string());
        }
        let loaded = loader.load();
        warn_all(&loaded.warnings);
        let settings = loaded.into_result()?;
        Ok((settings, Prepared { environment, sim }))
    }
}

/// What an engine asks, before there is one.
pub(super) struct Prepared {
    environment: Environment,
    sim: Option<Sim>,
}

impl Prepared {
    /// Starts an engine without polls on one shard, made as `with` says.
    pub(super) fn start(
        self,
        settings: Settings,
        with: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Result<OneOff, Failure> {
        let builder = Engine::builder(settings).environment(self.environment).without_polls().one_shard();
        let builder = match &self.sim {
            Some(sim) => builder.trust(sim.ca_pem()),
            None => builder,
        };
        Ok(OneOff { engine: with(builder).start()?, sim: self.sim })
    }
}

impl OneOff {
    /// Ends the engine and its simulator.
    pub(super) fn end(self) -> Result<Finish, Failure> {
        let finish = self.engine.shutdown(Duration::from_secs(1)).wait()??;
        if let Some(sim) = self.sim {
            sim.stop()?;
        }
        Ok(finish)
    }
}
