//! The vocabulary: what a record is, what can be asked, and how an answer is judged. Units are stated once, here.
//! Plain data only: nothing here reads a clock, a file or a socket.

mod audit;
mod data;
mod decimal;
mod encode;
mod names;
mod query;
mod record;
mod stream;
mod verdict;

pub use audit::{AuditAction, AuditBatch, AuditEntry, AuditSource, CANCELLED, Connection, Span, Stages, audit_micros};
pub use data::{Balance, Bar, Book, Data, Filing, Kind, Level, News, Observation, Quote, Rate, Side, Ticker, Trade};
pub use decimal::{Dec, DecimalError};
pub use names::{Interval, IntervalUnit, Native, SourceId, Symbol};
pub use query::{Query, TimeRange};
pub use record::{Record, VolumeUnit};
pub use stream::{Head, Stream, number_of};
pub use verdict::{Judgement, Verdict};
