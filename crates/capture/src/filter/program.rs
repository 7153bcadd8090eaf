//! Loads a filter's program into the kernel.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ebpf::Insn;

/// Bytes for what the verifier says of a program that it refuses; it says the end of more.
const VERIFIER_LOG_SIZE_BYTES: usize = 256 * 1024;

/// The kernel did not take a program.
#[derive(Debug)]
pub struct LoadError {
    /// The system's answer.
    pub error: io::Error,
    /// What the verifier said, if it came to that.
    pub log: String,
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel refused the filter's program: {}", self.error)?;
        // The last line but one is where the verifier says why; the last counts its work.
        match self.log.lines().rev().find(|line| !line.is_empty() && !line.starts_with("processed ")) {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Which of the two hooks the main program is attached to. A program array only takes programs of the same
/// expected attach type on newer kernels (6.18), so each hook has an array and a filter program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `cgroup_skb/ingress`
    Ingress,
    /// `cgroup_skb/egress`
    Egress,
}

/// Loads `insns` as a cgroup program that can be tail-called by the main program of `hook`.
pub fn load_filter(insns: &[Insn], hook: Hook) -> Result<OwnedFd, LoadError> {
    load(insns, hook, c"headtrail_flt")
}

pub(super) fn load(insns: &[Insn], hook: Hook, name: &CStr) -> Result<OwnedFd, LoadError> {
    let insns: Vec<libbpf_sys::bpf_insn> = insns.iter().map(|insn| raw(*insn)).collect();
    let mut log = vec![0u8; VERIFIER_LOG_SIZE_BYTES];
    let mut opts = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: match hook {
            Hook::Ingress => libbpf_sys::BPF_CGROUP_INET_INGRESS,
            Hook::Egress => libbpf_sys::BPF_CGROUP_INET_EGRESS,
        },
        log_size: VERIFIER_LOG_SIZE_BYTES as u32,
        log_buf: log.as_mut_ptr().cast(),
        ..Default::default()
    };
    // SAFETY: all pointers are to live values for the length of the call: two C strings, `insns` with its
    // length, and `opts`, whose log buffer is `log` with its length.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB,
            name.as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr(),
            insns.len() as libbpf_sys::size_t,
            &mut opts,
        )
    };
    if fd < 0 {
        let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
        return Err(LoadError { error: io::Error::from_raw_os_error(-fd), log });
    }
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a program into a program array, where a tail call finds it.
pub fn install(prog_array: BorrowedFd<'_>, index: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let value = program.as_raw_fd();
    // SAFETY: key and value of a program array are four bytes each, and both are live for the call.
    let ret = unsafe {
        libbpf_sys::bpf_map_update_elem(
            prog_array.as_raw_fd(),
            (&raw const index).cast(),
            (&raw const value).cast(),
            libbpf_sys::BPF_ANY.into(),
        )
    };
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(()) }
}

fn raw(insn: Insn) -> libbpf_sys::bpf_insn {
    libbpf_sys::bpf_insn {
        code: insn.code,
        _bitfield_align_1: [],
        _bitfield_1: libbpf_sys::bpf_insn::new_bitfield_1(insn.dst, insn.src),
        off: insn.off,
        imm: insn.imm,
    }
}
