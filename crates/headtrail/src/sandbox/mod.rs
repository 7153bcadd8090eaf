//! What the running daemon may still do: as little as it needs.
//!
//! `run` calls [`drop_privileges`] once, when all that needs privileges is done (programs loaded and attached, helpers
//! started, listening sockets bound, keys read) and before the first thread is started: what is set here holds for
//! the calling thread and what it starts, and a process that already has more than one is refused. In this order:
//!
//! 1. no core dumps, not dumpable, files made from now on for their owner only: keys are in memory;
//! 2. ids of a user of its own ([`user`]), to whom the data directory is handed over ([`hand_over`]);
//! 3. no capability but those without which the capture stops, found out by trial ([`capabilities`]);
//! 4. `no_new_privs`;
//! 5. landlock: files, TCP ports, signals ([`paths`]);
//! 6. seccomp: an allow-list of system calls ([`syscalls`]).
//!
//! What the kernel does not have is told in the [`Report`], which is read back from the kernel where it tells. One case is
//! refused: staying root where landlock does not keep root's files out of reach, unless that was asked for.
//!
//! The main process never runs another program and makes no connection. What must is in helpers that are started before and
//! do that alone: [`crate::names`] (names of other users' executables), [`crate::export`] (checkpoints to elsewhere).

mod capabilities;
mod hand_over;
mod paths;
mod report;
mod syscalls;
mod user;

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::CapabilitySet;

pub(crate) use report::{Layer, Report};

use crate::exit::Failure;

/// What is known before the drop about what is needed after it.
pub(crate) struct Plan<'a> {
    /// The user to become, as asked for; None: [`user::DEFAULT`].
    pub(crate) user: Option<&'a str>,
    /// Read and written.
    pub(crate) data_dir: &'a Path,
    /// Further files and folders that are read: config, rules, certificates.
    pub(crate) read: &'a [PathBuf],
    /// Further folders that are written into.
    pub(crate) write: &'a [PathBuf],
    /// TCP ports of the destinations; none: no connection can be made, and no name be looked up.
    pub(crate) connect_ports: &'a [u16],
    /// Does what the running capture does with the kernel. It is tried without capabilities to see which are needed.
    pub(crate) works: &'a dyn Fn() -> Result<(), String>,
}

/// Gives up what is not needed. Call it with one thread running; afterwards threads may be started.
pub(crate) fn drop_privileges(plan: &Plan<'_>) -> Result<Report, Failure> {
    only_thread()?;
    no_dumps()?;
    let mut notes = Vec::new();

    let identity = user::identity(plan.user)?;
    let keep = capabilities::needed(plan.works, &mut notes)?;
    if let Some(account) = identity.account() {
        hand_over::data_dir(plan.data_dir, account, &mut notes);
    }
    capabilities::shrink_bounding_set(keep);
    let identity = user::become_it(identity, keep, &mut notes)?;
    capabilities::set(keep)?;
    rustix::thread::set_no_new_privs(true).map_err(|e| refused("no_new_privs", &e))?;
    note_unreadable(plan, &mut notes);
    // Later the list of users is out of reach.
    let name = user::name();

    let landlock = paths::restrict(plan);
    if !identity.may_be_root() && user::is_root() && !landlock.in_force() {
        return Err(Failure::refused(format_args!(
            "{}; and this kernel has no landlock ({landlock}), so that root's files would stay open to this process. \
             Make the user ({}), or insist with --user root",
            identity.why_root(),
            user::MAKE_IT
        )));
    }
    if user::is_root() {
        notes.insert(0, identity.why_root());
    }
    let seccomp = syscalls::restrict();
    Ok(Report::read_back(name, landlock, seccomp, notes))
}

/// Gives up all but the right to see into other processes, for [`crate::names::serve`]; its system calls are reading and
/// writing what is open, and reading links.
pub(crate) fn restrict_names_helper() -> Result<(), Failure> {
    only_thread()?;
    no_dumps()?;
    let permitted = rustix::thread::capabilities(None).map_err(|e| refused("capabilities", &e))?.permitted;
    let keep = permitted & CapabilitySet::SYS_PTRACE;
    capabilities::shrink_bounding_set(keep);
    capabilities::set(keep)?;
    rustix::thread::set_no_new_privs(true).map_err(|e| refused("no_new_privs", &e))?;
    match syscalls::restrict_to_links() {
        Layer::Off(why) => Err(refused("seccomp", &why)),
        _ => Ok(()),
    }
}

/// Becomes the recorder's user and gives up all capabilities, for [`crate::export::helper`]. Where that makes connections itself, to
/// `port`, it is held by landlock and seccomp, too; a program that it runs instead is the administrator's own, and may do
/// what that user may.
pub(crate) fn restrict_export_helper(user: Option<&str>, port: Option<u16>) -> Result<(), Failure> {
    only_thread()?;
    no_dumps()?;
    let identity = user::identity(user)?;
    capabilities::shrink_bounding_set(CapabilitySet::empty());
    user::become_it(identity, CapabilitySet::empty(), &mut Vec::new())?;
    capabilities::set(CapabilitySet::empty())?;
    rustix::thread::set_no_new_privs(true).map_err(|e| refused("no_new_privs", &e))?;
    if let Some(port) = port {
        // What this kernel does not have is told by the recorder's own report.
        paths::restrict_to_connect(port);
        syscalls::restrict();
    }
    Ok(())
}

/// Capabilities by the kernel's names.
fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

fn refused(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::refused(format_args!("giving up privileges: {what}: {why}"))
}

/// Ids, capabilities, landlock and seccomp belong to a thread.
fn only_thread() -> Result<(), Failure> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(|e| refused("/proc/self/task", &e))?.count();
    if tasks == 1 {
        return Ok(());
    }
    Err(refused("threads", &format_args!("{tasks} run already, and would keep theirs")))
}

fn no_dumps() -> Result<(), Failure> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|e| refused("core dumps", &e))?;
    // A change of ids sets it anyway, but not every start changes them. It also keeps other processes of the same user
    // from tracing this one.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| refused("dumpable", &e))?;
    umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

/// What the config names and the new user cannot read will be missing at the next reload.
fn note_unreadable(plan: &Plan<'_>, notes: &mut Vec<String>) {
    for path in plan.read {
        if let Err(error) = std::fs::metadata(path).and_then(|_| std::fs::File::open(path)) {
            notes.push(format!("{} cannot be read any more: {error}", path.display()));
        }
    }
}
