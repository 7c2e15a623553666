//! The `tidegate` program: the command line of the library.
fn main() {}
