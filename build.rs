//! Sends the ring set-up of glommio's bundled liburing through `runtime/ring.rs`, which adds the flags that glommio
//! offers no option for. The plain form of the argument reaches binaries, tests, benches, examples and doc tests.
fn main() {
    println!("cargo:rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
    println!("cargo:rerun-if-changed=build.rs");
}
