//! The `tidegate` program: the command line of the library.

use std::process::ExitCode;

/// glibc's allocator keeps more than twice the memory per connection under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::runtime::warm_timers();
    tidegate::cli::main()
}
