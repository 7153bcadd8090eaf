//! Seccomp: which system calls this process may make.
//!
//! Three filters, of which the kernel obeys the strictest:
//!
//! - an allow-list, found by strace over real runs. What is not on it gets EPERM, so that a call that an allocator or a C
//!   library makes some day is an error to it and not the end of the recorder;
//! - what no honest path comes to and an intruder needs ends the process (SIGSYS);
//! - `clone3`, whose flags a filter cannot see, is not there (ENOSYS), upon which the C library takes `clone`.
//!
//! Arguments are looked at where a call is harmless with some and not with others. No pointers: they can change after the
//! look.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::Layer;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed with any arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // memory
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_mincore, libc::SYS_membarrier,
    // threads, time, scheduling of its own threads
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_gettid, libc::SYS_getpid,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler, libc::SYS_sched_getscheduler, libc::SYS_sched_setattr, libc::SYS_sched_getattr,
    libc::SYS_sched_getparam, libc::SYS_setpriority, libc::SYS_getpriority, libc::SYS_ioprio_set, libc::SYS_getcpu,
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_getrusage, libc::SYS_times, libc::SYS_sysinfo, libc::SYS_uname, libc::SYS_restart_syscall,
    // signals to itself
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack,
    // descriptors
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2, libc::SYS_write, libc::SYS_writev,
    libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2, libc::SYS_lseek, libc::SYS_close, libc::SYS_close_range,
    libc::SYS_dup, libc::SYS_dup3, libc::SYS_fcntl, libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_ppoll, libc::SYS_pselect6,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2,
    libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice,
    // files (landlock says which)
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_statfs,
    libc::SYS_fstatfs, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_ftruncate, libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_sync_file_range, libc::SYS_flock, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat,
    libc::SYS_fadvise64, libc::SYS_umask, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // sockets (their families below)
    libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect, libc::SYS_shutdown,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    // who it is
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getgroups, libc::SYS_getppid,
    libc::SYS_capget, libc::SYS_getrandom,
    // refused by another filter, as not there
    libc::SYS_clone3,
];

/// The older forms of some of them.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_mkdir, libc::SYS_rmdir,
    libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_symlink, libc::SYS_chmod, libc::SYS_poll, libc::SYS_select,
    libc::SYS_epoll_wait, libc::SYS_pipe, libc::SYS_dup2, libc::SYS_time, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// What ends the process.
#[rustfmt::skip]
const FATAL: &[c_long] = &[
    // another program
    libc::SYS_execve, libc::SYS_execveat,
    // other processes
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd, libc::SYS_kcmp,
    libc::SYS_process_madvise,
    // mounts and namespaces
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_open_tree, libc::SYS_move_mount,
    libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_setns,
    libc::SYS_unshare, libc::SYS_open_by_handle_at,
    // the kernel itself
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot,
    libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup,
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl, libc::SYS_acct, libc::SYS_quotactl,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_personality,
];
#[cfg(target_arch = "x86_64")]
const FATAL_HERE: &[c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_kexec_file_load];
#[cfg(not(target_arch = "x86_64"))]
const FATAL_HERE: &[c_long] = &[];

/// bpf(2) on maps that are open, and questions about what is (include/uapi/linux/bpf.h).
const BPF_ALLOWED: [u64; 10] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    21, // BPF_MAP_LOOKUP_AND_DELETE_ELEM
    24, // BPF_MAP_LOOKUP_BATCH
    25, // BPF_MAP_LOOKUP_AND_DELETE_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
];
/// bpf(2) that makes or attaches something.
const BPF_FATAL: [u64; 7] = [
    0,  // BPF_MAP_CREATE
    5,  // BPF_PROG_LOAD
    6,  // BPF_OBJ_PIN
    8,  // BPF_PROG_ATTACH
    17, // BPF_RAW_TRACEPOINT_OPEN
    18, // BPF_BTF_LOAD
    28, // BPF_LINK_CREATE
];
/// prctl(2): names of threads and of memory, and questions (include/uapi/linux/prctl.h).
const PRCTL_ALLOWED: [u64; 5] = [
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_GET_DUMPABLE as u64,
    libc::PR_GET_NO_NEW_PRIVS as u64,
    libc::PR_SET_VMA as u64,
];
/// ioctl(2): is it a terminal and how wide, blocking or not, how much is there to read.
const IOCTL_ALLOWED: [u64; 4] = [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONBIO, libc::FIONREAD];
/// Families of sockets. Netlink is asked for by the C library when it looks names up, and does without.
const FAMILIES: [u64; 3] = [libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64];
const NETLINK: u64 = libc::AF_NETLINK as u64;
/// Kind of socket, without flags (include/linux/net.h).
const SOCKET_KIND: u64 = 0xf;

/// The helper that tells names of executables: memory, its socket, links, the end.
#[rustfmt::skip]
const LINKS: &[c_long] = &[
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_futex, libc::SYS_read, libc::SYS_write,
    libc::SYS_recvfrom, libc::SYS_sendto, libc::SYS_readlinkat, libc::SYS_fcntl, libc::SYS_close, libc::SYS_exit, libc::SYS_exit_group,
    libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_getrandom,
];
#[cfg(target_arch = "x86_64")]
const LINKS_HERE: &[c_long] = &[libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const LINKS_HERE: &[c_long] = &[];

/// Installs the recorder's filters for this thread and what it starts.
pub(super) fn restrict() -> Layer {
    install(allowed().and_then(programs))
}

/// Installs those of the helper that tells names.
pub(super) fn restrict_to_links() -> Layer {
    let mut rules = always(&[LINKS, LINKS_HERE]);
    let memory = rule(&[(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0)]);
    install(memory.and_then(|memory| {
        rules.insert(libc::SYS_mmap, vec![memory]);
        programs(rules)
    }))
}

fn install(programs: Result<Vec<BpfProgram>, BackendError>) -> Layer {
    let installed = programs.map_err(|e| e.to_string()).and_then(|programs| {
        programs.iter().try_for_each(|program| apply_filter(program).map_err(|e| e.to_string()))
    });
    match installed {
        Ok(()) => Layer::On,
        Err(why) => Layer::Off(why),
    }
}

/// The filters in the order in which they are installed: seccomp(2) and prctl(2) must go through those before.
fn programs(allowed: Rules) -> Result<Vec<BpfProgram>, BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = |errno: i32| SeccompAction::Errno(errno as u32);
    let filters = [
        (fatal()?, SeccompAction::Allow, SeccompAction::KillProcess),
        (BTreeMap::from([(libc::SYS_clone3, vec![])]), SeccompAction::Allow, errno(libc::ENOSYS)),
        (allowed, errno(libc::EPERM), SeccompAction::Allow),
    ];
    filters
        .into_iter()
        .map(|(rules, otherwise, matched)| SeccompFilter::new(rules, otherwise, matched, arch)?.try_into())
        .collect()
}

fn always(calls: &[&[c_long]]) -> Rules {
    calls.concat().into_iter().map(|call| (call, vec![])).collect()
}

/// All of these conditions on arguments.
fn rule(conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, length, operation, value)| {
            SeccompCondition::new(*argument, length.clone(), operation.clone(), *value)
        })
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(conditions)
}

/// Any of these values of an argument.
fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(&[(argument, Dword, Eq, *value)])).collect()
}

fn allowed() -> Result<Rules, BackendError> {
    const EXEC: u64 = libc::PROT_EXEC as u64;
    const WRITE: u64 = libc::PROT_WRITE as u64;
    let own = u64::from(std::process::id());
    let thread = libc::CLONE_THREAD as u64;
    let mut rules = always(&[ALLOWED, ALLOWED_HERE]);
    rules.extend([
        (libc::SYS_bpf, any_of(0, &BPF_ALLOWED)?),
        (libc::SYS_prctl, any_of(0, &PRCTL_ALLOWED)?),
        (libc::SYS_ioctl, any_of(1, &IOCTL_ALLOWED)?),
        (libc::SYS_socket, any_of(0, &FAMILIES)?),
        (libc::SYS_socketpair, any_of(0, &FAMILIES[..1])?),
        // Threads, no processes.
        (libc::SYS_clone, vec![rule(&[(0, Qword, MaskedEq(thread), thread)])?]),
        (libc::SYS_kill, any_of(0, &[own, 0])?),
        (libc::SYS_tgkill, any_of(0, &[own])?),
        // To ask, not to set.
        (libc::SYS_prlimit64, vec![rule(&[(2, Qword, Eq, 0)])?]),
        // Nothing is both written and run. (Modules of the C library are mapped, and not made executable later.)
        (
            libc::SYS_mmap,
            vec![rule(&[(2, Dword, MaskedEq(EXEC), 0)])?, rule(&[(2, Dword, MaskedEq(EXEC | WRITE), EXEC)])?],
        ),
        (libc::SYS_mprotect, vec![rule(&[(2, Dword, MaskedEq(EXEC), 0)])?]),
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_getrlimit, vec![]);
    Ok(rules)
}

fn fatal() -> Result<Rules, BackendError> {
    let mut rules = always(&[FATAL, FATAL_HERE]);
    let others: Vec<_> = FAMILIES.iter().chain([&NETLINK]).map(|&family| (0, Dword, Ne, family)).collect();
    let raw = libc::SOCK_RAW as u64;
    let raw_of = |family| rule(&[(0, Dword, Eq, family), (1, Dword, MaskedEq(SOCKET_KIND), raw)]);
    rules.insert(libc::SYS_bpf, any_of(0, &BPF_FATAL)?);
    rules.insert(libc::SYS_socket, vec![rule(&others)?, raw_of(FAMILIES[1])?, raw_of(FAMILIES[2])?]);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_fatal() {
        let allowed = [ALLOWED, ALLOWED_HERE].concat();
        for call in [FATAL, FATAL_HERE].concat() {
            assert!(!allowed.contains(&call), "{call}");
        }
        assert!(BPF_FATAL.iter().all(|command| !BPF_ALLOWED.contains(command)));
    }

    #[test]
    fn the_filters_compile_and_fit_into_the_kernels_limit() {
        // BPF_MAXINSNS (include/uapi/linux/bpf_common.h)
        for program in programs(allowed().unwrap()).unwrap() {
            assert!(program.len() < 4096, "{}", program.len());
        }
    }
}
