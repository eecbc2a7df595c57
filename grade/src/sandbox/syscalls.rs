//! System calls: a list of those that an interpreter needs to compute. Everything else fails with EPERM: sockets, processes, signals,
//! memory of other processes, files in memory, timers, io_uring, keys, namespaces.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Calls that are harmless whatever their arguments are.
const ALLOWED: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pselect6,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older forms of the same calls, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Commands of `fcntl`. F_SETOWN is not among them: with it, a pipe sends signals to any process of the same user.
const FCNTL: &[i32] = &[libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];

/// Commands of `ioctl`: whether a descriptor is a terminal, and whether an exec closes it.
const IOCTL: &[u64] = &[libc::TCGETS, libc::FIOCLEX, libc::FIONCLEX];

/// Restricts this process. `clone3` cannot be filtered by its arguments, so it "does not exist", and libraries use `clone` instead.
pub(super) fn restrict_calls() -> Result<(), seccompiler::Error> {
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    // First, because the second filter no longer allows to add one. Of two answers of filters the stricter one counts.
    apply_filter(&compile(no_clone3, SeccompAction::Allow, missing)?)?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    apply_filter(&compile(list_allowed()?, denied, SeccompAction::Allow)?)
}

fn compile(
    calls: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<BpfProgram, seccompiler::Error> {
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(calls, otherwise, action, here)?.try_into()?)
}

fn list_allowed() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut calls: BTreeMap<c_long, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let fcntl = FCNTL.iter().map(|word| require(1, SeccompCmpOp::Eq, u64::from(word.unsigned_abs())));
    calls.insert(libc::SYS_fcntl, fcntl.collect::<Result<_, _>>()?);
    let ioctl = IOCTL.iter().map(|word| require(1, SeccompCmpOp::Eq, *word));
    calls.insert(libc::SYS_ioctl, ioctl.collect::<Result<_, _>>()?);
    // Threads, but no processes: without a child nothing outlives the process that is killed.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    calls.insert(libc::SYS_clone, vec![require(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // Its own limits, not those of another process of the same user.
    calls.insert(libc::SYS_prlimit64, vec![require(0, SeccompCmpOp::Eq, 0)?]);
    Ok(calls)
}

/// A call whose argument `at`, of 32 bits, fulfills a condition.
fn require(at: u8, condition: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(at, SeccompCmpArgLen::Dword, condition, value)?])
}
