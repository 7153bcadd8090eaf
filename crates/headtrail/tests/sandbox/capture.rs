//! A capture that goes on after privileges are gone.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use headtrail_assemble::{Assembler, Limits};
use headtrail_capture::filter::Filter;
use headtrail_capture::{Capture, Options};
use headtrail_record::event::Event;
use headtrail_record::json::Processes;
use headtrail_testkit::process::Watch;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{Signal, TempDir};
use serde_json::json;

use crate::common::{self, DEADLINE, curl};
use crate::names::Names;
use crate::processes::ProcessTable;
use crate::sandbox::{Plan, Report, drop_privileges};
use crate::snapshot::{Board, Snapshot};
use crate::web;

/// As `run` does it: start, give up, then threads and the loop. Writes a line of JSON for each transaction.
pub fn run(data_dir: &Path, filter: &str) -> ExitCode {
    let filter = Filter::parse(filter).unwrap();
    let capture = Capture::start(Options { filter: Some(filter), ring_bytes: None }).unwrap();
    let processes = ProcessTable::with(Names::start().unwrap());
    let (stop, stopper) = std::io::pipe().unwrap();
    signal_hook::low_level::pipe::register(Signal::INT.as_raw(), stopper).unwrap();
    let http = web::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = http.local_addr().unwrap();
    let works = || capture.exercise();
    let plan =
        Plan { user: Some(crate::USER), data_dir, read: &[], write: &[], connect_ports: &[], works: &works };
    let report = drop_privileges(&plan).unwrap();
    assert_eq!(report.capabilities, [""; 0], "{report:?}");
    let board = Board::default();
    let status = web::bind_status(data_dir).unwrap();
    let _server = web::start(Some(http), Some(status), &board).unwrap();
    println!("{}", json!({ "web": address.to_string() }));
    // What is set holds for threads that are started later.
    std::thread::spawn(move || follow(capture, processes, &stop, &board, &report)).join().unwrap();
    ExitCode::SUCCESS
}

fn follow(
    mut capture: Capture,
    mut processes: ProcessTable,
    stop: &std::io::PipeReader,
    board: &Board,
    report: &Report,
) {
    capture.exercise().unwrap();
    let mut assembler = Assembler::new(Limits::default());
    eprintln!("headtrail: watching");
    let (mut seen, mut transactions) = (Vec::new(), 0);
    loop {
        capture.read(1 << 20, |event| {
            if let Event::Peer { process, .. } = event {
                processes.learn(process);
            }
            assembler.event(event, &mut |raw| seen.push(raw));
        });
        for resync in assembler.take_resyncs() {
            capture.resync(&resync);
        }
        capture.release();
        transactions += seen.len() as u64;
        board.put(Snapshot { transactions, sandbox: report.clone(), ..Snapshot::default() });
        for raw in seen.drain(..) {
            let mut exe = |of: Option<_>| {
                let of = of?;
                processes.learn(&of);
                processes.process(&of).and_then(|process| process.executable.clone())
            };
            println!("{}", json!({ "server": exe(raw.process), "client": exe(raw.peer_process) }));
        }
        capture.wait(stop.as_fd(), Duration::from_millis(100));
        if matches!(rustix::io::ioctl_fionread(stop), Ok(n) if n > 0) {
            break;
        }
    }
    println!(
        "{}",
        json!({ "resyncs": capture.counters().resyncs, "requests": capture.counters().requests_read })
    );
}

/// Started by root, which becomes another user.
pub fn goes_on() {
    if !Nginx::available() || !common::has("curl") {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    records(crate::myself(), data_dir.path());
}

/// Started as packaging/headtrail.service does it: by its user, with the capabilities that loading takes.
pub fn goes_on_unprivileged() {
    const CAPABILITIES: &str = "+bpf,+perfmon,+net_admin,+sys_ptrace";
    if !Nginx::available() || !common::has("curl") || !common::has("setpriv") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let program = folder.path().join("program");
    std::fs::create_dir(&data_dir).unwrap();
    std::os::unix::fs::chown(&data_dir, Some(1), Some(1)).unwrap();
    // The folder of the build may be closed to others.
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for open in [folder.path(), &program] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", crate::USER, "--regid", crate::USER, "--clear-groups"]);
    command.args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES]).arg(&program);
    records(command, &data_dir);
}

fn records(mut command: Command, data_dir: &Path) {
    let nginx = Nginx::start(&NginxOptions::default());
    command.arg("capture").arg(data_dir).arg(format!("port {}", nginx.address().port()));
    let watch = Watch::start(command);
    let url = format!("http://{}/", nginx.address());
    for _ in 0..3 {
        common::run(curl(&[&url, "-o", "/dev/null"]).stderr(Stdio::inherit()));
    }
    assert!(watch.wait_for(DEADLINE, |records| records.len() >= 4), "{}", watch.stderr());
    answers(watch.records()[0]["web"].as_str().unwrap(), data_dir);
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    let [_, transactions @ .., last] = &finished.records[..] else { panic!("{:?}", finished.records) };
    assert_eq!(transactions.len(), 3, "{:?} {:?}", finished.records, finished.other_lines);
    for record in transactions {
        let name =
            |key: &str| record[key].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
        assert_eq!(name("server").as_deref(), Some("nginx"), "{record}");
        // One that has ended is null.
        assert!(name("client").is_none_or(|client| client == "curl"), "{record}");
    }
    println!("{last}");
    assert!(!data_dir.join(web::STATUS_SOCKET).exists());
}

/// Its other threads are as restricted, and do their work.
fn answers(web: &str, data_dir: &Path) {
    let metrics = common::run(&mut curl(&[&format!("http://{web}/metrics")]));
    assert!(metrics.contains("\nheadtrail_transactions_total 3\n"), "{metrics}");
    let status = common::run(common::headtrail().arg("status").arg("--data-dir").arg(data_dir));
    println!("{status}");
    for line in
        ["transactions  3\n", "user          daemon (1:1)\n", "capabilities  none\n", "seccomp       on\n"]
    {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    let other = common::output(common::headtrail().arg("status").arg("--data-dir").arg("/nowhere"));
    assert_eq!(other.status.code(), Some(1));
}
