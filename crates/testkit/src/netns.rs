//! Network namespaces: made by `ip netns`, so that every tool can enter them by name, and removed on drop.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace of its own, with `lo` up.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Can namespaces be made here? If not, says why in a line `skipped: …`.
    pub fn available() -> bool {
        let name = unique_name("probe");
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let why = match made {
            Ok(output) if output.status.success() => {
                drop(Netns { name });
                return true;
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        crate::skip(&format!("network namespaces cannot be made here: ip netns add: {why}"));
        false
    }

    /// Makes a namespace. `label` is for people; the name is unique.
    pub fn new(label: &str) -> Netns {
        let netns = Netns { name: unique_name(label) };
        run("ip", &["netns", "add", &netns.name]);
        netns.ip(&["link", "set", "dev", "lo", "up"]);
        netns
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. It has the caller's process id for its whole life: `ip netns exec`
    /// replaces itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// `ip` inside, which must succeed.
    pub fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", &self.name], args].concat());
    }

    /// Gives a device an address, as `10.77.0.1/24` or `fd77::1/64`, usable at once.
    pub fn address(&self, device: &str, address: &str) {
        // Without `nodad` an IPv6 address cannot be used for its first second.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&["address", "add", address, "dev", device], nodad].concat());
    }

    /// Runs `work` on a thread inside. Sockets made there stay inside when they are handed out.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter(&self) {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|error| panic!("setns {path}: {error}"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Joins two namespaces by a pair of devices, both up, that send and receive what is on the wire: frames
/// of at most the MTU with checksums filled in, not the super-packets of segmentation offload.
pub fn veth((a, a_device): (&Netns, &str), (b, b_device): (&Netns, &str)) {
    #[rustfmt::skip]
    run("ip", &[
        "link", "add", "name", a_device, "netns", &a.name, "type", "veth",
        "peer", "name", b_device, "netns", &b.name,
    ]);
    for (netns, device) in [(a, a_device), (b, b_device)] {
        #[rustfmt::skip]
        run("ip", &[
            "netns", "exec", &netns.name, "ethtool", "-K", device,
            "tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off",
        ]);
        netns.ip(&["link", "set", "dev", device, "up"]);
    }
}

/// Test binaries and threads run beside each other.
fn unique_name(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ht-{}-{}-{label}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn run(program: &str, args: &[&str]) {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn namespaces_are_apart_joined_by_veth_and_removed() {
        if !Netns::available() {
            return;
        }
        let (a, b) = (Netns::new("a"), Netns::new("b"));
        veth((&a, "eth0"), (&b, "eth0"));
        for (netns, v4, v6) in [(&a, "10.77.0.1/24", "fd77::1/64"), (&b, "10.77.0.2/24", "fd77::2/64")] {
            netns.address("eth0", v4);
            netns.address("eth0", v6);
        }
        for ip in ["10.77.0.2", "fd77::2"] {
            let listener = b.run(|| TcpListener::bind((ip, 0)).unwrap());
            let address = listener.local_addr().unwrap();
            let stream = a.run(|| TcpStream::connect(address).unwrap());
            drop(listener.accept().unwrap());
            assert_eq!((&stream).read(&mut [0; 1]).unwrap(), 0);
        }
        let output = a.command("ip").args(["-br", "link"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("eth0"));
        let path = format!("/run/netns/{}", a.name());
        drop(a);
        assert!(!std::path::Path::new(&path).exists());
    }
}
