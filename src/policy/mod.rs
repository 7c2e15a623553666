//! Policies: when to ask, when to wait, when to stop asking and when to try again. Pure state machines: time and
//! randomness are arguments, nothing here reads a clock, awaits, or is shared between cores.

mod backoff;
mod breaker;
mod budget;
mod quota;
mod repeats;
mod sliding;
mod when_full;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSpec, BreakerState, Force, Outcome, Permit, Refused, Transition};
pub use budget::{BudgetSpec, RetryBudget};
pub use quota::{Cause, SavedWindow, Wait, Window, WindowShape, WindowSpec};
pub use repeats::Repeats;
pub use sliding::{MARKS, Marks, Sliding};
pub use when_full::WhenFull;
