//! Landlock: which files, TCP ports and processes can be reached, whatever the ids would allow.
//!
//! Best effort by the kernel's version: files since 5.13, TCP ports since 6.7, signals and abstract Unix sockets since 6.12.
//! A restricted process may not look into processes outside either (memory, `/proc/PID/exe`), which is why names of
//! executables come from a helper.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Layer, Plan};

/// The newest rules that were tried.
const NEWEST: ABI = ABI::V7;
/// Read by the capture, by the looks at processes, and by the C library.
const READ: [&str; 4] = ["/proc", "/sys/fs/cgroup", "/etc/localtime", "/usr/share/zoneinfo"];
/// Read by the C library to look names up (and the modules for that), and to check certificates.
const READ_TO_CONNECT: [&str; 10] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/lib",
    "/run/systemd/resolve",
];
/// Written beside the data directory.
const WRITE: [&str; 1] = ["/dev/null"];

/// Names are looked up by TCP where an answer is too long for UDP.
const DNS: u16 = 53;

/// Restricts this thread and what it starts.
pub(super) fn restrict(plan: &Plan<'_>) -> Layer {
    enforce(build(plan))
}

/// Restricts this thread and what it starts to connections with one TCP port, and to what these take.
pub(super) fn restrict_to_connect(port: u16) -> Layer {
    enforce(nothing().and_then(|rules| allow_to_connect(rules, &[port, DNS])))
}

fn enforce(rules: Result<RulesetCreated, RulesetError>) -> Layer {
    let status = match rules.and_then(RulesetCreated::restrict_self) {
        Ok(status) => status,
        Err(error) => return Layer::Off(error.to_string()),
    };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Layer::On,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            Layer::Partly(format!("what landlock ABI {} has", effective_abi as i32))
        }
        (RulesetStatus::PartiallyEnforced, _) => Layer::Partly("an older landlock".to_owned()),
        (_, LandlockStatus::NotEnabled) => Layer::Off("switched off at boot".to_owned()),
        (_, LandlockStatus::NotImplemented) => Layer::Off("not in this kernel".to_owned()),
        _ => Layer::Off("not enforced".to_owned()),
    }
}

fn build(plan: &Plan<'_>) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut rules = allow(nothing()?, plan.data_dir, write)?;
    for path in plan.write {
        rules = allow(rules, path, write)?;
    }
    for path in WRITE {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in READ {
        rules = allow(rules, Path::new(path), read)?;
    }
    for path in plan.read {
        rules = allow(rules, path, read)?;
    }
    // No port may be bound: listeners are there before.
    if plan.connect_ports.is_empty() { Ok(rules) } else { allow_to_connect(rules, plan.connect_ports) }
}

/// Rules that allow nothing.
fn nothing() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

fn allow_to_connect(mut rules: RulesetCreated, ports: &[u16]) -> Result<RulesetCreated, RulesetError> {
    for path in READ_TO_CONNECT {
        rules = allow(rules, Path::new(path), AccessFs::from_read(NEWEST) & !AccessFs::Execute)?;
    }
    for &port in ports {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// What is not there needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(fd, access))
}
