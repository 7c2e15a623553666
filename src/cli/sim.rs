//! `tidegate sim`: the provider simulator alone, with the configuration that makes an engine ask it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Done, Failure};
use crate::error::{Error, ErrorKind};
use crate::runtime::{self, Placement};
use crate::shard::state::write_atomically;
use crate::sim::{Profile, Sim, SimSettings};

/// Run the provider simulator alone and print the configuration that asks it.
///
/// Every provider has a host name of its own, <source>.localhost; /<source>/ before a path leads to the same.
#[derive(Args, Debug)]
pub struct Simulate {
    /// Where to listen; port 0 is any.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Serves the recorded answers in this folder (with a manifest.json) instead of samples.
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// TOML file that says how each source misbehaves: latency, limits, faults.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Serves plain HTTP.
    #[arg(long)]
    plain: bool,
    /// CPU to run on; any without.
    #[arg(long, value_name = "CPU")]
    cpu: Option<usize>,
    /// Folder that the authority's certificate is written to.
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

impl Simulate {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let signals = super::run::signals()?;
        let profile = match &self.profile {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
                Profile::parse(&path.display().to_string(), &text)?
            }
            None => Profile::default(),
        };
        runtime::preflight()?;
        let placement = self.cpu.map_or(Placement::Unpinned, Placement::Cpu);
        let recordings = self.recordings.clone();
        let settings = SimSettings { listen: self.listen, placement, plain: self.plain, recordings };
        let sim = Sim::start_with(settings, profile)?;
        let ca_file = write_ca(&self.data, &sim)?;
        let text = sim.toml(ca_file.as_deref(), self.recordings.as_deref())?;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        drop(out);
        eprintln!("the simulator listens on {}; Ctrl-C ends it", sim.address());
        let _ = signals.recv();
        sim.stop()?;
        Ok(Done::Fine)
    }
}

/// Writes the simulator's authority to the data folder; `None` when it serves plain HTTP.
pub(super) fn write_ca(folder: &Path, sim: &Sim) -> Result<Option<PathBuf>, Error> {
    let Some(pem) = sim.ca_pem() else { return Ok(None) };
    let path = folder.join("state").join("simulator-ca.pem");
    write_atomically(&path, pem.as_bytes()).map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("cannot write {}: {error}; choose a folder that can be written with --data", path.display()),
        )
    })?;
    Ok(Some(std::path::absolute(&path).unwrap_or(path)))
}
