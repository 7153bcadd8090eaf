//! Loads and attaches the families by what the kernel takes, and holds them.

use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use headtrail_record::event::{Event, Resync, flags};
use headtrail_record::packet;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{ErrorKind, Link, MapCore, MapFlags, MapHandle, MapType, OpenObject};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::abi;
use crate::cgroup::{self, CgroupError};
use crate::counters::Counters;
use crate::decode::{self, DecodeError};
use crate::filter::program::{self as filter_program, Hook};
use crate::filter::translate::{self, Layout};
use crate::filter::{Filter, HEADER_SIZE_BYTES};
use crate::lane::{CELL_BYTES, Lane};
use crate::log;
use crate::merge::{SETTLE_NS, Sources};
use crate::pace::Pace;
use crate::ring::Ring;
use crate::shared::Shared;

// Generated: the lints of the house do not look at it.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, dead_code, unused)]
mod skeletons {
    pub(super) mod socket {
        include!(concat!(env!("OUT_DIR"), "/socket.skel.rs"));
    }
    pub(super) mod process {
        include!(concat!(env!("OUT_DIR"), "/process.skel.rs"));
    }
}
use skeletons::process::ProcessSkelBuilder;
use skeletons::socket::SocketSkelBuilder;

/// Default size of the ring.
pub const RING_BYTES_DEFAULT: u32 = 16 * 1024 * 1024;
/// Smallest ring that is taken: one page.
pub const RING_BYTES_MIN: u32 = 4096;
/// Largest ring that is taken.
pub const RING_BYTES_MAX: u32 = 1 << 30;
/// How much later than asked for the consumer may wake.
const TIMER_SLACK_NS: u64 = 5_000;
/// Smallest lane.
const LANE_CELLS_MIN: u32 = 4;

/// What to capture.
#[derive(Default)]
pub struct Options {
    /// Flows that are followed; None: all.
    pub filter: Option<Filter>,
    /// Bytes of the ring; rounded up to a power of two. None: [`RING_BYTES_DEFAULT`].
    pub ring_bytes: Option<u32>,
}

/// Why the capture cannot start. Each says what is missing on this host.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not enough rights.
    #[error("permission denied: loading BPF programs needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN")]
    Privileges,
    /// No BTF.
    #[error("/sys/kernel/btf/vmlinux is missing: the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf,
    /// No usable cgroup root.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The kernel refuses a program or a map.
    #[error("the kernel refuses the {what}: {why}")]
    Refused {
        /// What.
        what: &'static str,
        /// Its reason.
        why: String,
    },
}

/// One optional part of the capture: on, or off with its cause.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Short name.
    pub name: &'static str,
    /// What is missing without it.
    pub gives: &'static str,
    /// Why it is off; None when on.
    pub off_because: Option<String>,
}

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    sources: Sources,
    ring_fds: Vec<OwnedFd>,
    shared: Shared,
    detached: bool,
    slots: MapHandle,
    resyncs: MapHandle,
    features: Vec<Feature>,
    cgroup: std::path::PathBuf,
    epoch_offset_ns: u64,
    epoch_taken_ns: u64,
    pace: Pace,
    /// What was read; the rest is the kernel's.
    read: Counters,
    /// For early segments, on which the kernel's side has no verdict.
    filter: Option<Filter>,
    /// Detached when dropped.
    links: Vec<Link>,
    _filters: Vec<OwnedFd>,
}

fn refused(what: &'static str, error: &libbpf_rs::Error) -> StartError {
    if error.kind() == ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() {
        return StartError::Privileges;
    }
    StartError::Refused { what, why: why(error) }
}

/// libbpf's error with the verifier's reason, where it has one.
fn why(error: &libbpf_rs::Error) -> String {
    match log::reason() {
        Some(reason) => format!("{error:#} (verifier: {reason})"),
        None => format!("{error:#}"),
    }
    .replace('\n', " ")
}

fn now_ns(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    (t.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec as u64)
}

/// What has to be added to a monotonic time to get one since the Unix epoch.
fn epoch_offset_ns() -> u64 {
    let before = now_ns(ClockId::Monotonic);
    let real = now_ns(ClockId::Realtime);
    let after = now_ns(ClockId::Monotonic);
    real.wrapping_sub(before.wrapping_add((after - before) / 2))
}

impl Capture {
    /// Loads and attaches.
    pub fn start(options: Options) -> Result<Self, StartError> {
        log::begin();
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(StartError::NoBtf);
        }
        if !has_privileges() {
            return Err(StartError::Privileges);
        }
        let (path, root) = cgroup::open_root()?;
        let root = root.as_raw_fd();
        let cpus = libbpf_rs::num_possible_cpus().map_err(|e| refused("count of CPUs", &e))?;
        let ring_count = cpus.clamp(1, abi::RINGS_MAX);
        // Half of it for lanes, which take plain messages, and half for rings, which take everything.
        let half_bytes = options.ring_bytes.unwrap_or(RING_BYTES_DEFAULT) / ring_count as u32 / 2;
        let ring_bytes = half_bytes.clamp(RING_BYTES_MIN, RING_BYTES_MAX).next_power_of_two();
        let cells = (half_bytes / CELL_BYTES as u32).max(LANE_CELLS_MIN).next_power_of_two();

        // The skeleton borrows its object for ever; there is one capture in a process.
        let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open =
            SocketSkelBuilder::default().open(object).map_err(|e| refused("socket programs", &e))?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.ht_has_filter = u32::from(options.filter.is_some());
        }
        open.maps.ht_cells.set_max_entries(ring_count as u32 * cells).map_err(|e| refused("lanes", &e))?;
        let skel = Box::leak(Box::new(open.load().map_err(|e| refused("socket programs", &e))?));

        // A short sleep would else be longer by half; where it cannot be set, it is.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));

        let (ring_fds, rings) = make_rings(&skel.maps.ht_rings, ring_count, ring_bytes)?;
        let lanes = Lane::lay_out(skel.maps.ht_lanes.as_fd(), skel.maps.ht_cells.as_fd(), ring_count, cells)
            .map_err(|e| StartError::Refused { what: "mapping of the lanes", why: e.to_string() })?;
        let shared = Shared::map(skel.maps.ht_shared.as_fd()).map_err(|e| StartError::Refused {
            what: "mapping of the shared variables",
            why: e.to_string(),
        })?;

        let mut filters = Vec::new();
        if let Some(filter) = &options.filter {
            let layout = Layout {
                forward: abi::sock::FORWARD,
                mirrored: abi::sock::MIRRORED,
                header_size_bytes: HEADER_SIZE_BYTES as u16,
                verdict: abi::sock::VERDICT,
                resume_index: abi::CALL_RESUME,
            };
            let wrong = |why: String| StartError::Refused { what: "filter program", why };
            let sides = [
                (Hook::Ingress, skel.maps.ht_calls_in.as_fd(), skel.progs.ht_ingress.as_fd()),
                (Hook::Egress, skel.maps.ht_calls_out.as_fd(), skel.progs.ht_egress.as_fd()),
            ];
            for (hook, calls, main) in sides {
                let storage = skel.maps.ht_socks.as_fd().as_raw_fd();
                let insns = translate::emit(filter.insns(), storage, calls.as_raw_fd(), &layout)
                    .map_err(|e| wrong(e.to_string()))?;
                let program = filter_program::load_filter(&insns, hook).map_err(|e| wrong(e.to_string()))?;
                filter_program::install(calls, abi::CALL_FILTER, program.as_fd())
                    .and_then(|()| filter_program::install(calls, abi::CALL_RESUME, main))
                    .map_err(|e| wrong(e.to_string()))?;
                filters.push(program);
            }
        }

        let mut features = Vec::new();
        let mut links = Vec::new();
        // Owners first, so that a connection that begins meanwhile has one.
        let maps = [skel.maps.ht_socks.as_fd(), skel.maps.ht_rings.as_fd(), skel.maps.ht_shared.as_fd()];
        load_process(maps, root, &mut links, &mut features);
        for program in [&skel.progs.ht_egress, &skel.progs.ht_ingress] {
            links.push(program.attach_cgroup(root).map_err(|e| refused("cgroup hook", &e))?);
        }

        Ok(Self {
            sources: Sources::new(rings, lanes),
            ring_fds,
            shared,
            detached: false,
            slots: MapHandle::try_from(&skel.maps.ht_slots).map_err(|e| refused("map", &e))?,
            resyncs: MapHandle::try_from(&skel.maps.ht_resyncs).map_err(|e| refused("map", &e))?,
            features,
            cgroup: path,
            epoch_offset_ns: epoch_offset_ns(),
            epoch_taken_ns: now_ns(ClockId::Monotonic),
            pace: Pace::default(),
            read: Counters::default(),
            filter: options.filter,
            links,
            _filters: filters,
        })
    }

    /// Detaches the programs: nothing new comes, and what is in the ring can still be read.
    pub fn detach(&mut self) {
        self.links.clear();
        self.detached = true;
    }

    /// The optional parts and whether they are on.
    #[must_use]
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Where the programs are attached.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Hands out what waits in the ring, at most about `bytes_max` of it. The space stays taken until
    /// [`Capture::release`], since the events point into it. Returns whether there was anything.
    pub fn read(&mut self, bytes_max: usize, mut each: impl FnMut(&Event<'_>)) -> bool {
        let offset = self.epoch_offset_ns;
        let counters = &mut self.read;
        let filter = self.filter.as_ref();
        // Once detached there is nothing to wait for.
        let settle_ns = if self.detached { 0 } else { SETTLE_NS };
        let horizon_ns = now_ns(ClockId::Monotonic).saturating_sub(settle_ns);
        let mut records = 0;
        self.sources.read(bytes_max, horizon_ns, |record| match decode::decode(record, offset) {
            Ok(event) => {
                records += 1;
                if let Event::Segment(segment) = &event {
                    counters.read(segment);
                }
                if selected(filter, &event) {
                    each(&event);
                }
            }
            Err(DecodeError::Short | DecodeError::Version(_) | DecodeError::Kind(_)) => {
                counters.undecoded += 1
            }
        });
        self.pace.found(records);
        records > 0
    }

    /// Gives the ring space of everything read back to the kernel.
    pub fn release(&mut self) {
        self.sources.release();
    }

    /// Waits for more: a short sleep while traffic flows, else until the kernel wakes us, `interrupt` becomes readable
    /// or `at_most` has passed.
    pub fn wait(&mut self, interrupt: BorrowedFd<'_>, at_most: Duration) {
        let sleep = self.pace.next(preempted);
        let mut idle = sleep.is_none();
        if idle {
            self.shared.set_waiting(true);
            // Who took a place before the store does not wake us; who takes one later sees it.
            if self.sources.backlog_bytes() > 0 {
                self.shared.set_waiting(false);
                idle = false;
            }
        }
        let time = if idle { at_most } else { sleep.unwrap_or(Pace::SHORT).min(at_most) };
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        if idle {
            let mut fds: Vec<_> = self
                .ring_fds
                .iter()
                .map(AsFd::as_fd)
                .chain([interrupt])
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            let _ = poll(&mut fds, Some(&timeout));
        } else {
            let mut fds = [PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timeout));
        }
        self.shared.set_waiting(false);
        // The wall clock may be set while we run.
        let now = now_ns(ClockId::Monotonic);
        if now.saturating_sub(self.epoch_taken_ns) > 1_000_000_000 {
            self.epoch_offset_ns = epoch_offset_ns();
            self.epoch_taken_ns = now;
        }
    }

    /// Tells the kernel where the next message of a direction begins.
    pub fn resync(&self, resync: &Resync) {
        let mut key = [0u8; 16];
        key[..8].copy_from_slice(&resync.connection.0.to_ne_bytes());
        key[8..12].copy_from_slice(&(resync.direction.index() as u32).to_ne_bytes());
        let mut value = [0u8; 8];
        value[..4].copy_from_slice(&resync.sequence.to_ne_bytes());
        value[4..].copy_from_slice(&u32::from(resync.frames).to_ne_bytes());
        // Where it fails the kernel goes on copying, within its budget.
        let _ = self.resyncs.update(&key, &value, MapFlags::ANY);
    }

    /// Does with the kernel what a running capture does, to see whether it may: reads counters and tells a place.
    pub fn exercise(&self) -> Result<(), String> {
        // No socket has this cookie.
        let key = [0u8; 16];
        let counts = self.slots.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY);
        counts.map_err(|e| format!("counters cannot be read: {e}"))?;
        self.resyncs
            .update(&key, &[0; 8], MapFlags::ANY)
            .and_then(|()| self.resyncs.delete(&key))
            .map_err(|e| format!("the kernel cannot be told where messages begin: {e}"))
    }

    /// What the kernel's side counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = self.read;
        for slot in 0..abi::SLOTS {
            if let Ok(Some(areas)) = self.slots.lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY) {
                for area in &areas {
                    sum.add(area);
                }
            }
        }
        sum.events_lost += self.shared.process_lost();
        sum.slots_busy = self.shared.slots_busy();
        sum
    }

    /// Bytes that wait in the ring.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.sources.backlog_bytes()
    }

    /// Nanoseconds since the Unix epoch, by the same clock as the events.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        now_ns(ClockId::Monotonic).wrapping_add(self.epoch_offset_ns)
    }
}

/// How often this thread was taken off its CPU by others; 0 where the kernel does not tell.
fn preempted() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Whether this process may load BPF programs at all: CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON and CAP_NET_ADMIN.
fn has_privileges() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return true;
    };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let Some(effective) = effective else { return true };
    let has = |bit: u32| effective & (1 << bit) != 0;
    // include/uapi/linux/capability.h
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    has(SYS_ADMIN) || (has(BPF) && has(PERFMON) && has(NET_ADMIN))
}

/// Whether the filter lets an event through. The kernel has judged all but early segments, whose socket is not there yet.
fn selected(filter: Option<&Filter>, event: &Event<'_>) -> bool {
    let (Some(filter), Event::Segment(segment)) = (filter, event) else { return true };
    if segment.flags & flags::EARLY == 0 {
        return true;
    }
    packet::endpoints(segment.headers)
        .is_some_and(|(from, to)| filter.matches_tuple((from.ip, from.port), (to.ip, to.port)))
}

/// Makes the rings, one for each CPU, and maps them.
fn make_rings(
    outer: &impl MapCore,
    count: usize,
    bytes: u32,
) -> Result<(Vec<OwnedFd>, Vec<Ring>), StartError> {
    let io = |e: &dyn std::fmt::Display| StartError::Refused { what: "ring buffer", why: e.to_string() };
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let mut fds = Vec::new();
    let mut rings = Vec::new();
    for _ in 0..count {
        let map = MapHandle::create(MapType::RingBuf, Some("headtrail_ring"), 0, 0, bytes, &options)
            .map_err(|e| refused("ring buffer", &e))?;
        rings.push(Ring::map(map.as_fd(), bytes as usize).map_err(|e| io(&e))?);
        fds.push(map.as_fd().try_clone_to_owned().map_err(|e| io(&e))?);
    }
    for index in 0..abi::RINGS_MAX {
        let fd = fds[index % count].as_raw_fd() as u32;
        outer
            .update(&(index as u32).to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .map_err(|e| refused("ring buffer", &e))?;
    }
    Ok((fds, rings))
}

/// The optional programs: each is tried by itself, and its cause noted where the kernel refuses it.
fn load_process(maps: [BorrowedFd<'_>; 3], root: i32, links: &mut Vec<Link>, features: &mut Vec<Feature>) {
    const PARTS: [(&str, &str, &[&str]); 2] = [
        ("owner", "process that opened a client connection", &["ht_connect4", "ht_connect6"]),
        ("close", "prompt notice of closed connections", &["ht_state"]),
    ];
    for (name, gives, programs) in PARTS {
        let result = load_process_part(maps, root, programs, links);
        features.push(Feature { name, gives, off_because: result.err() });
    }
}

fn load_process_part(
    maps: [BorrowedFd<'_>; 3],
    root: i32,
    programs: &[&str],
    links: &mut Vec<Link>,
) -> Result<(), String> {
    log::begin();
    let say = |e: libbpf_rs::Error| why(&e);
    let object: &'static mut MaybeUninit<OpenObject> = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = ProcessSkelBuilder::default().open(object).map_err(say)?;
    let [socks, rings, shared] = maps;
    open.maps.ht_socks.reuse_fd(socks).map_err(say)?;
    open.maps.ht_rings.reuse_fd(rings).map_err(say)?;
    open.maps.ht_shared.reuse_fd(shared).map_err(say)?;
    let all: [(&str, &mut libbpf_rs::OpenProgramMut<'_>); 3] = [
        ("ht_connect4", &mut open.progs.ht_connect4),
        ("ht_connect6", &mut open.progs.ht_connect6),
        ("ht_state", &mut open.progs.ht_state),
    ];
    for (name, program) in all {
        program.set_autoload(programs.contains(&name));
    }
    let skel = Box::leak(Box::new(open.load().map_err(say)?));
    for name in programs {
        let link = match *name {
            "ht_connect4" => skel.progs.ht_connect4.attach_cgroup(root),
            "ht_connect6" => skel.progs.ht_connect6.attach_cgroup(root),
            _ => skel.progs.ht_state.attach_trace(),
        };
        links.push(link.map_err(say)?);
    }
    Ok(())
}

/// What [`Capture::start`] needs from the operating system, for `headtrail doctor`: tried, not guessed.
pub fn probe() -> Result<Vec<Feature>, StartError> {
    let capture = Capture::start(Options { filter: None, ring_bytes: Some(RING_BYTES_MIN) })?;
    Ok(capture.features.clone())
}
