//! `headtrail doctor`: what works on this host, by trial.

use std::fs;

use crate::exit::Failure;

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
}

/// Tries everything and prints what came of it.
pub(crate) fn run() -> Result<(), Failure> {
    println!("kernel      {}", rustix::system::uname().release().to_string_lossy());
    println!(
        "BTF         {}",
        if fs::metadata("/sys/kernel/btf/vmlinux").is_ok() { "/sys/kernel/btf/vmlinux" } else { "missing" }
    );
    println!(
        "BPF JIT     {}",
        match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
            "0" => "off: programs are interpreted and cost several times as much",
            "1" | "2" => "on",
            _ => "unknown",
        }
    );
    match headtrail_capture::cgroup::open_root() {
        Ok((path, _)) => println!("cgroup v2   {}", path.display()),
        Err(error) => println!("cgroup v2   {error}"),
    }
    let features = headtrail_capture::probe().inspect_err(|_| println!("HTTP        off"))?;
    println!("HTTP        on: HTTP/1 and HTTP/2 requests and responses of every TCP socket of this host");
    for feature in features {
        match feature.off_because {
            None => println!("{:<11} on: {}", feature.name, feature.gives),
            Some(why) => println!("{:<11} off: no {} ({why})", feature.name, feature.gives),
        }
    }
    println!();
    println!("not seen at this hook: TLS inside, Unix sockets, sockmap redirects, forwarded traffic,");
    println!("link-layer headers (Ethernet, VLAN, ARP), packets that reach no socket");
    Ok(())
}
