//! The one error type of the library: what went wrong, whose fault it is, whether trying again can help.
//! Kind, origin and retry are chosen where they are known; context is added once, at the boundary.

use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing, unknown, or out of range.
    Config,
    /// A stored file is not what its format says.
    Corrupt,
    /// The deadline passed.
    Deadline,
    /// The host refused something: io_uring, memory to lock, files, CPUs.
    Host,
    /// Reading or writing a file failed.
    Io,
    /// A call that the library cannot serve as made.
    Misuse,
    /// A request ended with another verdict than `ok`.
    Refused,
    /// The engine is stopping or has stopped.
    Stopped,
}

/// Whose doing the error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process, its configuration or its host.
    Local,
    /// The provider or the way to it.
    Remote,
}

/// An error: kind, origin, whether a retry can help, and a message that names the thing and the cure.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    origin: Origin,
    retry: bool,
    context: String,
}

/// The result of what can fail in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A local error for which trying again is no help.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Error { kind, origin: Origin::Local, retry: false, context: context.into() }
    }

    /// A configuration error.
    pub fn config(context: impl Into<String>) -> Self {
        Error::new(ErrorKind::Config, context)
    }

    /// A file operation that failed: says which path and what was tried.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// The same error as the provider's doing, retryable or not.
    pub fn remote(mut self, retry: bool) -> Self {
        self.origin = Origin::Remote;
        self.retry = retry;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whose doing it is.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        self.retry
    }

    /// The same error with what was being done put in front.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.context = format!("{doing}: {}", self.context);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {}
