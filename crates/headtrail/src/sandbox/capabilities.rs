//! Which capabilities stay, by trial.
//!
//! Since 5.19 `kernel.unprivileged_bpf_disabled` keeps processes from making BPF objects only (kernel commit c8644cd0efe7);
//! before, it refused every bpf() call without CAP_BPF, those on maps that are already open, too. So the calls of the
//! running capture are tried with an empty effective set, then with CAP_BPF: the kernel is asked, not its version.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::{names, refused};
use crate::exit::Failure;

/// What is tried, from none to most.
const CANDIDATES: [CapabilitySet; 3] =
    [CapabilitySet::empty(), CapabilitySet::BPF, CapabilitySet::BPF.union(CapabilitySet::PERFMON)];

/// The smallest candidate with which `works` does. Effective capabilities are as before when it returns.
pub(super) fn needed(
    works: &dyn Fn() -> Result<(), String>,
    notes: &mut Vec<String>,
) -> Result<CapabilitySet, Failure> {
    let before = capabilities(None).map_err(|e| refused("capabilities", &e))?;
    let mut last = String::new();
    for candidate in CANDIDATES {
        if !before.permitted.contains(candidate) {
            continue;
        }
        let tried = set_capabilities(None, CapabilitySets { effective: candidate, ..before });
        let result = works();
        set_capabilities(None, before).map_err(|e| refused("capabilities", &e))?;
        tried.map_err(|e| refused("capabilities", &e))?;
        match result {
            Ok(()) => {
                if !candidate.is_empty() {
                    notes.push(format!("keeps {}: without, {last}", names(candidate).join(", ")));
                }
                return Ok(candidate);
            }
            Err(why) => last = why,
        }
    }
    Err(refused("capabilities", &format_args!("the capture does not work with what would be kept: {last}")))
}

/// What is not in the bounding set cannot come back by running a program either. Without CAP_SETPCAP it stays, and
/// `no_new_privs` does the same.
pub(super) fn shrink_bounding_set(keep: CapabilitySet) {
    for (_, capability) in CapabilitySet::all().difference(keep).iter_names() {
        // Those that this kernel does not know are refused.
        let _ = remove_capability_from_bounding_set(capability);
    }
}

/// Keeps these and no other.
pub(super) fn set(keep: CapabilitySet) -> Result<(), Failure> {
    // Older kernels have no ambient set.
    let _ = clear_ambient_capability_set();
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(|e| refused("capabilities", &e))
}
