//! Names of processes, looked up once in /proc and kept.

use std::collections::HashMap;
use std::fs;

use foldhash::fast::RandomState;
use headtrail_record::event::ProcessRef;
use headtrail_record::json::Processes;
use headtrail_record::transaction::Process;

use crate::names::Names;

/// Most processes that are kept; past it all are looked up anew.
const PROCESSES_MAX: usize = 4096;

/// Processes seen so far.
#[derive(Default)]
pub(crate) struct ProcessTable {
    known: HashMap<(u32, [u8; 16]), Process, RandomState>,
    names: Names,
}

impl ProcessTable {
    /// With a helper for what this process may not see itself.
    #[allow(dead_code)] // Called by the daemon only.
    pub(crate) fn with(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Looks a process up, unless it is known. One that has ended by now keeps what the kernel told of it.
    pub(crate) fn learn(&mut self, of: &ProcessRef) {
        let key = (of.pid, of.name);
        if self.known.contains_key(&key) {
            return;
        }
        if self.known.len() >= PROCESSES_MAX {
            self.known.clear();
        }
        self.known.insert(key, look_up(of, &mut self.names));
    }
}

impl Processes for ProcessTable {
    fn process(&self, of: &ProcessRef) -> Option<&Process> {
        self.known.get(&(of.pid, of.name))
    }
}

fn look_up(of: &ProcessRef, names: &mut Names) -> Process {
    let folder = format!("/proc/{}", of.pid);
    let end = of.name.iter().position(|&b| b == 0).unwrap_or(of.name.len());
    let name = String::from_utf8_lossy(&of.name[..end]).into_owned();
    // A process number may have been given anew; then this is another process and not ours to name.
    let same = fs::read_to_string(format!("{folder}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    if !same {
        return Process { pid: of.pid, name, ..Process::default() };
    }
    let executable = names.executable(of.pid);
    let cgroup = fs::read_to_string(format!("{folder}/cgroup"))
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)));
    let container = cgroup.as_deref().and_then(container_id).map(str::to_owned);
    Process { pid: of.pid, name, executable, cgroup, container }
}

/// The container id in a cgroup path: the last run of 64 hexadecimal digits, as Docker, containerd, CRI-O and Podman
/// write it (`/docker/<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>.scope`).
fn container_id(cgroup: &str) -> Option<&str> {
    cgroup
        .rsplit(|c: char| !c.is_ascii_alphanumeric())
        .find(|part| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_found_in_the_usual_paths() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
        ] {
            assert_eq!(container_id(&path), Some(id.as_str()), "{path}");
        }
        assert_eq!(container_id("/system.slice/nginx.service"), None);
    }

    #[test]
    fn this_process_is_known_by_its_executable() {
        let mut name = [0; 16];
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        let comm = comm.trim_end().as_bytes();
        name[..comm.len()].copy_from_slice(comm);
        let of = ProcessRef { pid: std::process::id(), name };
        let mut table = ProcessTable::default();
        table.learn(&of);
        assert!(table.process(&of).unwrap().executable.is_some());
    }
}
