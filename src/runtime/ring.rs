//! The set-up of io_uring rings: adds the flags that glommio offers no option for, probes whether rings are allowed; and
//! the two system calls besides that no safe wrapper offers.
//! `build.rs` has the linker send glommio's ring set-up here. Without `COOP_TASKRUN` the kernel interrupts the running
//! task for every completion: 60 % fewer requests per second on one core.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::doctor::RingFacts;

/// What has been done to the rings of this process so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RingReport {
    /// Rings whose set-up came through here; zero means that a program which links the library runs without the flags:
    /// it needs a `use tidegate as _;` in its main file and the linker argument of this crate's `build.rs`.
    pub rings: u32,
    /// Rings that the kernel took with the flags.
    pub flagged: u32,
}

/// Reports how many rings were made and how many run with the flags.
pub fn ring_report() -> RingReport {
    RingReport { rings: RINGS.load(Ordering::Relaxed), flagged: FLAGGED.load(Ordering::Relaxed) }
}

/// Makes and closes a small ring, to learn whether the host allows any and has the operations that executors use.
pub(super) fn probe() -> RingFacts {
    let mut params = [0_u32; PARAMS_WORDS];
    // The answer to IORING_REGISTER_PROBE: a head of 16 bytes, then 8 bytes for each operation.
    let mut answer = [0_u64; 2 + PROBED];
    // SAFETY: `params` is a zeroed io_uring_params of the full size, which the kernel fills; `answer` is a zeroed
    // io_uring_probe with room for PROBED operations; the descriptor is owned by nobody else and closed at once.
    let registered = unsafe {
        let ring = libc::syscall(libc::SYS_io_uring_setup, 2_u32, params.as_mut_ptr());
        if ring < 0 {
            let refused = io::Error::last_os_error().raw_os_error();
            return RingFacts { refused, ..RingFacts::default() };
        }
        let register = libc::SYS_io_uring_register;
        let registered = libc::syscall(register, ring, REGISTER_PROBE, answer.as_mut_ptr(), PROBED as u32);
        libc::close(ring as i32);
        registered
    };
    // A kernel without the question is older than the operations.
    let flags = |operation: usize| answer[2 + operation].to_ne_bytes()[2];
    let lacks = |operation: usize| registered < 0 || flags(operation) & SUPPORTED == 0;
    let missing = OPERATIONS.iter().filter(|(operation, _)| lacks(*operation)).map(|(_, name)| *name).collect();
    RingFacts { missing, ..RingFacts::default() }
}

/// Whether the kernel takes its clock for synchronized; `None` where it does not tell.
pub fn clock_synchronized() -> Option<bool> {
    // SAFETY: a zeroed timex asks for nothing to be changed; the kernel fills it.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&mut timex)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

/// Registers the process for expedited memory barriers before it has a second thread: without it the first sleep of the
/// process comes 4 to 80 ms late. Call it at the top of `main`.
pub fn warm_timers() {
    // SAFETY: a system call on plain integers (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); a refusal changes nothing.
    unsafe {
        libc::syscall(libc::SYS_membarrier, 16, 0);
    }
}

/// The head of the kernel's `struct io_uring_params`; the rest is left alone behind the pointer.
#[repr(C)]
pub struct RingParams {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
}

/// Stands in for liburing's own function.
///
/// # Safety
/// `params` points to a whole `struct io_uring_params`, as liburing promises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap___sys_io_uring_setup(entries: u32, params: *mut RingParams) -> i32 {
    RINGS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise; the system call reads and writes only that struct.
    unsafe {
        let plain = (*params).flags;
        // A polled ring must not run its task work cooperatively: glommio polls it without entering the kernel.
        if plain & IOPOLL == 0 {
            (*params).flags |= COOP_TASKRUN | SINGLE_ISSUER;
            let ring = libc::syscall(libc::SYS_io_uring_setup, entries, params) as i32;
            if ring >= 0 {
                FLAGGED.fetch_add(1, Ordering::Relaxed);
                return ring;
            }
            if *libc::__errno_location() != libc::EINVAL {
                return ring;
            }
            (*params).flags = plain;
        }
        libc::syscall(libc::SYS_io_uring_setup, entries, params) as i32
    }
}

/// What glommio's executors insist on: it ends the process where one is missing.
const OPERATIONS: &[(usize, &str)] = &[
    (0, "NOP"),
    (1, "READV"),
    (2, "WRITEV"),
    (3, "FSYNC"),
    (4, "READ_FIXED"),
    (5, "WRITE_FIXED"),
    (6, "POLL_ADD"),
    (7, "POLL_REMOVE"),
    (9, "SENDMSG"),
    (10, "RECVMSG"),
    (11, "TIMEOUT"),
    (12, "TIMEOUT_REMOVE"),
    (13, "ACCEPT"),
    (15, "LINK_TIMEOUT"),
    (16, "CONNECT"),
    (17, "FALLOCATE"),
    (18, "OPENAT"),
    (19, "CLOSE"),
    (21, "STATX"),
    (22, "READ"),
    (23, "WRITE"),
    (26, "SEND"),
    (27, "RECV"),
];
/// How many operations are asked about.
const PROBED: usize = 28;
const REGISTER_PROBE: u32 = 8;
const SUPPORTED: u8 = 1;
/// `sizeof(struct io_uring_params)` is 120 bytes.
const PARAMS_WORDS: usize = 30;
const IOPOLL: u32 = 1;
const COOP_TASKRUN: u32 = 1 << 8;
const SINGLE_ISSUER: u32 = 1 << 12;

static RINGS: AtomicU32 = AtomicU32::new(0);
static FLAGGED: AtomicU32 = AtomicU32::new(0);
