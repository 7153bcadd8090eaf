//! Things that a recorder has no business with, and a few that it has.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use headtrail_capture::filter::ebpf::Insn;
use headtrail_capture::filter::program::{Hook, load_filter};
use nix::mount::{MsFlags, mount};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Uid};

use crate::sandbox::{Plan, drop_privileges};

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Killed,
    /// EPERM
    NotPermitted,
    /// EACCES
    Denied,
}

use Outcome::{Denied, Done, Killed, NotPermitted};

impl Outcome {
    const ALL: [(Outcome, &'static str); 4] =
        [(Done, "done"), (Killed, "killed by SIGSYS"), (NotPermitted, "EPERM"), (Denied, "EACCES")];

    pub fn parse(line: &str) -> Option<Outcome> {
        Outcome::ALL.iter().find(|(_, text)| *text == line).map(|(outcome, _)| *outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Outcome::ALL.iter().find(|(outcome, _)| outcome == self).map_or("", |(_, text)| text);
        f.write_str(text)
    }
}

/// The table.
#[rustfmt::skip]
pub const ATTEMPTS: &[(&str, Outcome)] = &[
    ("read /etc/shadow",                            Denied),
    ("read /etc/passwd",                            Denied),
    ("write beside the data directory",             Denied),
    ("write into the data directory",               Done),
    ("rename out of the data directory",            Denied),
    ("read /proc/PARENT/comm",                      Done),
    ("read /proc/PARENT/cgroup",                    Done),
    ("read /proc/PARENT/exe",                       Denied),
    ("read /proc/PARENT/environ",                   Denied),
    ("open /proc/PARENT/mem",                       Denied),
    ("read a sysctl",                               Done),
    ("write a sysctl",                              Denied),
    ("read another process's memory",               Killed),
    ("trace another process",                       Killed),
    ("signal another process",                      NotPermitted),
    ("signal itself",                               Done),
    ("start a program",                             NotPermitted),
    ("become a program",                            Killed),
    ("become a program, in a thread",               Killed),
    ("start a thread",                              Done),
    ("become root",                                 NotPermitted),
    ("take a capability",                           NotPermitted),
    ("be dumpable again",                           NotPermitted),
    ("allow core dumps",                            NotPermitted),
    ("mount a file system",                         Killed),
    ("change the root",                             Killed),
    ("load a BPF program",                          Killed),
    ("open a packet socket",                        Killed),
    ("open a raw socket",                           Killed),
    ("open a netlink socket",                       NotPermitted),
    ("open a TCP socket",                           Done),
    ("listen on a TCP port",                        Denied),
    ("connect to the TCP port of the plan",         Done),
    ("look a name up",                              Done),
    ("connect to another TCP port",                 Denied),
    ("listen on a Unix socket of the data directory", Done),
];

/// Gives up privileges, tries, and prints how it ended.
pub fn make(user: &str, data_dir: &Path, name: &str) -> ExitCode {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let plan = Plan {
        user: Some(user),
        data_dir,
        read: &[],
        write: &[],
        connect_ports: &ports[..1],
        works: &|| Ok(()),
    };
    match drop_privileges(&plan) {
        Ok(report) => {
            for (what, value) in report.lines() {
                println!("{what} {value}");
            }
        }
        Err(failure) => {
            println!("{}: {}", failure.code, failure.message);
            return ExitCode::from(failure.code);
        }
    }
    let outcome = match attempt(name, data_dir, ports) {
        Ok(()) => Done,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => NotPermitted,
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Denied,
        Err(error) => {
            println!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{outcome}");
    ExitCode::SUCCESS
}

fn read(path: &str) -> io::Result<()> {
    fs::read(path).map(drop)
}

fn raw_socket(family: AddressFamily, kind: SocketType) -> io::Result<()> {
    Ok(socket(family, kind, None).map(drop)?)
}

#[allow(clippy::too_many_lines)]
fn attempt(name: &str, data_dir: &Path, ports: [u16; 2]) -> io::Result<()> {
    let parent = rustix::process::getppid().unwrap();
    let parent_pid = parent.as_raw_nonzero().get();
    let nix_parent = nix::unistd::Pid::from_raw(parent_pid);
    let of_parent = |what: &str| format!("/proc/{parent_pid}/{what}");
    let beside = data_dir.with_file_name(format!("headtrail-beside-{}", std::process::id()));
    match name {
        "nothing" => Ok(()),
        "read /etc/shadow" => read("/etc/shadow"),
        "read /etc/passwd" => read("/etc/passwd"),
        "write beside the data directory" => fs::write(beside, "x"),
        "write into the data directory" => {
            fs::create_dir(data_dir.join("made"))?;
            fs::write(data_dir.join("made/file"), "x")?;
            fs::rename(data_dir.join("made/file"), data_dir.join("file"))?;
            File::open(data_dir.join("file"))?.sync_all()?;
            File::open(data_dir)?.sync_all()?;
            fs::remove_file(data_dir.join("file"))?;
            fs::remove_dir(data_dir.join("made"))
        }
        "rename out of the data directory" => {
            fs::write(data_dir.join("mine"), "x")?;
            let moved = fs::rename(data_dir.join("mine"), beside);
            // Landlock tells of a move across its borders as of one across file systems.
            match moved {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    Err(io::Error::from_raw_os_error(libc::EACCES))
                }
                other => other,
            }
        }
        "read /proc/PARENT/comm" => read(&of_parent("comm")),
        "read /proc/PARENT/cgroup" => read(&of_parent("cgroup")),
        "read /proc/PARENT/exe" => fs::read_link(of_parent("exe")).map(drop),
        "read /proc/PARENT/environ" => read(&of_parent("environ")),
        "open /proc/PARENT/mem" => File::open(of_parent("mem")).map(drop),
        "read a sysctl" => read("/proc/sys/kernel/osrelease"),
        "write a sysctl" => OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern").map(drop),
        "read another process's memory" => {
            let mut bytes = [0; 8];
            let from = [RemoteIoVec { base: 0x1000, len: 8 }];
            Ok(process_vm_readv(nix_parent, &mut [IoSliceMut::new(&mut bytes)], &from).map(drop)?)
        }
        "trace another process" => Ok(nix::sys::ptrace::attach(nix_parent)?),
        "signal another process" => Ok(rustix::process::test_kill_process(parent)?),
        "signal itself" => {
            Ok(rustix::process::test_kill_process(Pid::from_raw(std::process::id() as i32).unwrap())?)
        }
        "start a program" => Command::new("/bin/true").status().map(drop),
        "become a program" => Err(Command::new("/bin/true").exec()),
        "become a program, in a thread" => {
            std::thread::spawn(|| Err(Command::new("/bin/true").exec())).join().unwrap()
        }
        "start a thread" => std::thread::Builder::new()
            .name("a thread".to_owned())
            .spawn(|| {
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
                assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
            })
            .map(|thread| thread.join().unwrap()),
        "become root" => Ok(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?),
        "take a capability" => {
            let mut sets = rustix::thread::capabilities(None)?;
            sets.effective = rustix::thread::CapabilitySet::SYS_ADMIN;
            sets.permitted = sets.effective;
            Ok(rustix::thread::set_capabilities(None, sets)?)
        }
        "be dumpable again" => Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?),
        "allow core dumps" => {
            let limit = Rlimit { current: Some(0), maximum: Some(0) };
            Ok(rustix::process::setrlimit(Resource::Core, limit)?)
        }
        "mount a file system" => {
            Ok(mount(Some("none"), data_dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?)
        }
        "change the root" => std::os::unix::fs::chroot(data_dir),
        "load a BPF program" => {
            // r0 = 1; exit
            let insn = |code, imm| Insn { code, dst: 0, src: 0, off: 0, imm };
            load_filter(&[insn(0xb7, 1), insn(0x95, 0)], Hook::Ingress).map(drop).map_err(|error| error.error)
        }
        "open a packet socket" => raw_socket(AddressFamily::PACKET, SocketType::RAW),
        "open a raw socket" => raw_socket(AddressFamily::INET, SocketType::RAW),
        "open a netlink socket" => raw_socket(AddressFamily::NETLINK, SocketType::RAW),
        "open a TCP socket" => raw_socket(AddressFamily::INET6, SocketType::STREAM),
        "listen on a TCP port" => TcpListener::bind("127.0.0.1:0").map(drop),
        "connect to the TCP port of the plan" => TcpStream::connect(("127.0.0.1", ports[0])).map(drop),
        "look a name up" => std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)).map(drop),
        "connect to another TCP port" => TcpStream::connect(("127.0.0.1", ports[1])).map(drop),
        "listen on a Unix socket of the data directory" => {
            let path = data_dir.join("test.sock");
            let listener = UnixListener::bind(&path)?;
            let mut client = UnixStream::connect(&path)?;
            io::Write::write_all(&mut client, b"x")?;
            io::Read::read_exact(&mut listener.accept()?.0, &mut [0])?;
            fs::remove_file(path)
        }
        _ => panic!("no such attempt: {name}"),
    }
}
