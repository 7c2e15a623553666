//! What is said on the wire, as plain values: requests, answers, and the reading of bodies, times and signatures.
//! No sockets and no clock. Invariant: a secret inside a request is marked, so that no display shows it.

pub mod answer;
pub mod fields;
pub mod headers;
pub mod json;
pub mod request;
pub mod sign;
pub mod times;

pub use answer::Answer;
pub use headers::Headers;
pub use request::{Method, Request};
