//! What a user meets who types something wrong or has the wrong host: an exit code and a message that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::{Command, Output};

use common::messages::{Cut, Exchange, ask, script};
use common::{DEADLINE, Recorder, headtrail, output, ready, watch_command};
use headtrail_testkit::TempDir;
use headtrail_testkit::process::Watch;
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, parts: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
    assert!(!stderr.contains('\x1b'), "{stderr:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn an_unknown_flag_names_the_nearest() {
    ends(&output(headtrail().args(["watch", "--fromat", "json"])), 2, &["--fromat", "'--format'"]);
    ends(&output(headtrail().args(["wacth"])), 2, &["wacth", "'watch'"]);
    ends(&output(headtrail().args(["watch", "--format", "jsn"])), 2, &["jsn", "json"]);
    ends(&output(headtrail().args(["watch", "--ring-bytes", "1"])), 2, &["4096"]);
    ends(&output(&mut headtrail()), 2, &["watch"]);
}

#[test]
fn a_bad_filter_is_shown_with_a_caret() {
    for (filter, wrong) in
        [("port 80 and ether host 1:2:3:4:5:6", "ether"), ("dst prot 80", "80"), ("(port 80", "")]
    {
        let output = output(headtrail().arg("watch").args(filter.split(' ')));
        ends(&output, 2, &[filter, "^"]);
        let stderr = stderr(&output);
        let lines: Vec<&str> = stderr.lines().collect();
        let caret = lines.iter().position(|line| line.trim_start().starts_with('^')).unwrap();
        let (above, under) = (lines[caret - 1], lines[caret]);
        let at = under.find('^').unwrap();
        assert!(above.get(at..).is_some_and(|rest| rest.starts_with(wrong)), "{stderr}");
    }
}

#[test]
fn help_and_version_are_results() {
    let help = output(headtrail().args(["watch", "--help"]));
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for part in [
        "--format",
        "text",
        "json",
        "ecs",
        "--verbose",
        "-v",
        "--data-dir",
        "--ring-bytes",
        "FILTER",
        "SIGUSR1",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
    let text = common::run(headtrail().arg("--help"));
    assert!(text.contains("watch") && text.contains("doctor"), "{text}");
    let version = common::run(headtrail().arg("--version"));
    assert_eq!(version.trim(), format!("headtrail {}", env!("CARGO_PKG_VERSION")));
}

/// `watch` under another program; a watch that begins in spite of it ends by itself.
fn under(wrapper: &[&str], data_dir: &TempDir) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-s", "INT", "10"]).args(wrapper).arg(env!("CARGO_BIN_EXE_headtrail"));
    command.args(["watch", "--data-dir"]).arg(data_dir.path()).args(["port", "1"]);
    output(&mut command)
}

#[test]
fn without_rights_it_says_which_are_missing() {
    if !ready() || !common::has("setpriv") {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    let named = ["CAP_BPF", "CAP_PERFMON", "root"];
    // Root without capabilities, as in a container.
    ends(&under(&["setpriv", "--bounding-set=-all"], &data_dir), 3, &named);
    // Another user, who could not reach the binary where cargo has put it.
    let copy = data_dir.path().join("headtrail");
    std::fs::copy(env!("CARGO_BIN_EXE_headtrail"), &copy).unwrap();
    common::run(Command::new("chmod").arg("755").arg(data_dir.path()).arg(&copy));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    command.args(["watch", "--data-dir"]).arg(data_dir.path().join("none"));
    ends(&output(&mut command), 3, &named);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).arg("doctor");
    ends(&output(&mut command), 3, &named);
}

#[test]
fn a_private_cgroup_namespace_is_refused_with_the_flag_that_helps() {
    if !ready() || !common::has("unshare") {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    ends(&under(&["unshare", "--cgroup"], &data_dir), 3, &["--cgroupns=host"]);
}

/// A shell in a mount namespace of its own, that prepares something and becomes the watch.
fn in_mount_namespace(prepare: &str, data_dir: &TempDir) -> Output {
    let script = format!("{prepare}\nexec \"$@\"");
    under(&["unshare", "--mount", "sh", "-e", "-c", &script, "sh"], data_dir)
}

#[test]
fn a_host_without_cgroup_v2_is_refused() {
    if !ready() || !common::has("unshare") {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    let unmount = "while read -r _ _ _ _ point rest; do
            case \"$rest\" in *' - cgroup2 '*) umount -l \"$point\";; esac
        done </proc/self/mountinfo";
    ends(&in_mount_namespace(unmount, &data_dir), 3, &["cgroup v2", "mount"]);
}

#[test]
fn a_kernel_without_btf_is_refused() {
    if !ready() || !common::has("unshare") {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    ends(&in_mount_namespace(hide, &data_dir), 3, &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn doctor_tells_what_is_on() {
    if !ready() {
        return;
    }
    let text = common::run(headtrail().arg("doctor"));
    for part in ["kernel ", "BTF ", "cgroup v2 ", "HTTP/1 ", "on: ", "not seen"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let off = text.lines().filter(|line| line.contains("off:"));
    for line in off {
        assert!(line.contains('(') && line.ends_with(')'), "no cause: {line}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn bytes_of_the_wire_never_reach_the_output_raw() {
    if !ready() {
        return;
    }
    // Sequences that set a title, clear the screen, move the cursor; C1 controls in two encodings; a direction override.
    let hostile: &[&[u8]] = &[
        b"\x1b]0;owned\x07",
        b"\x1b[2J\x1b[31m",
        b"a\x08b\x0bc\x7f",
        b"\x9b31m",
        "\u{9b}31m \u{202e} \u{2066}x".as_bytes(),
        b"\xff\xfe raw",
    ];
    let mut exchanges = Vec::new();
    for (n, bytes) in hostile.iter().enumerate() {
        let mut exchange = Exchange::of(n, "GET", 200, "X-Hostile: @\r\n", b"", b"");
        for message in [&mut exchange.request, &mut exchange.response] {
            let at = message.iter().position(|&b| b == b'@').unwrap();
            message.splice(at..=at, bytes.iter().copied());
        }
        exchanges.push(exchange);
    }
    let mut in_start = Exchange::get(50);
    in_start.request = b"GET /\x1b[31m\x9b HTTP/1.1\r\nHost: \x1b[5m\r\n\r\n".to_vec();
    in_start.response = b"HTTP/1.1 200 \x1b[7mOK\r\nContent-Length: 0\r\n\r\n".to_vec();
    exchanges.push(in_start);

    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
    let filter = common::messages::filter_of(server.address());
    let data_dir = TempDir::new().unwrap();
    let forms = [&["--format", "json"][..], &["--format", "ecs"], &["--format", "text"], &["-v"]];
    let watches = forms.map(|args| Watch::start(watch_command(data_dir.path(), args, &filter)));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &exchanges, |_| Cut::Whole);
    for watch in &watches[..2] {
        assert!(watch.wait_for(DEADLINE, |records| records.len() >= exchanges.len()), "{}", watch.stderr());
    }
    for (watch, form) in watches.into_iter().zip(forms) {
        let finished = watch.stop();
        let text: String = finished.other_lines.concat();
        // The JSON was parsed by the test kit, so what it was like is asked of a second run below.
        if form[0] == "--format" && form[1] != "text" {
            assert!(finished.other_lines.is_empty(), "{form:?}: {text}");
            assert_eq!(finished.records.len(), exchanges.len());
            continue;
        }
        check_plain(&text, form);
        assert!(finished.other_lines.len() >= exchanges.len(), "{form:?}: {text}");
    }
    // As bytes.
    for form in &forms[..2] {
        let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
        let file = data_dir.path().join("out");
        let mut command = Command::new("sh");
        command.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]).arg(&file);
        let inner = watch_command(data_dir.path(), form, &common::messages::filter_of(server.address()));
        command.arg(inner.get_program()).args(inner.get_args());
        let watch = Watch::start(command);
        let mut client = Connection::connect(server.address(), None);
        ask(&mut client, &exchanges, |_| Cut::Whole);
        let lines = || std::fs::read(&file).unwrap().iter().filter(|&&b| b == b'\n').count();
        headtrail_testkit::eventually("the lines", DEADLINE, || (lines() >= exchanges.len()).then_some(()));
        watch.stop();
        let text = String::from_utf8(std::fs::read(&file).unwrap()).expect("UTF-8");
        check_plain(&text.replace('\n', ""), form);
    }
}

fn check_plain(text: &str, form: &[&str]) {
    let bad = |c: char| {
        c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let at = text.find(bad);
    assert!(at.is_none(), "{form:?}: {:?}", &text[at.unwrap()..]);
}

#[test]
fn a_closed_pipe_is_success() {
    if !ready() {
        return;
    }
    let exchanges: Vec<Exchange> = (0..400).map(Exchange::get).collect();
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
    let data_dir = TempDir::new().unwrap();
    let filter = common::messages::filter_of(server.address());
    let inner = watch_command(data_dir.path(), &["--format", "json"], &filter);
    let mut command = Command::new("sh");
    // The code of the first part is told by the shell after its end.
    command.args(["-c", "{ \"$@\"; echo \"code $?\" >&2; } | head -1", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let watch = Watch::start(command);
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &exchanges[..1], |_| Cut::Whole);
    assert!(watch.wait_for(DEADLINE, |records| records.len() == 1));
    for (n, exchange) in exchanges.iter().enumerate().skip(1) {
        ask(&mut client, std::slice::from_ref(exchange), |_| Cut::Whole);
        if n % 50 == 0 && watch.stderr().contains("code ") {
            break;
        }
    }
    headtrail_testkit::eventually("the end", DEADLINE, || watch.stderr().contains("code ").then_some(()));
    assert!(watch.stderr().contains("code 0"), "{}", watch.stderr());
    // What is left of the script.
    drop(client);
}

#[test]
fn sigusr1_prints_the_counts_and_goes_on() {
    if !ready() {
        return;
    }
    let exchanges: Vec<Exchange> = (0..10).map(Exchange::any).collect();
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
    let recorder = Recorder::start(&common::messages::filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    for (n, part) in exchanges.chunks(5).enumerate() {
        ask(&mut client, part, |_| Cut::Whole);
        assert!(recorder.wait(5 * (n + 1)));
        recorder.watch().signal(headtrail_testkit::Signal::USR1);
        let report = format!("headtrail: printed {} transactions", 5 * (n + 1));
        headtrail_testkit::eventually("a report", DEADLINE, || {
            recorder.watch().stderr().contains(&report).then_some(())
        });
    }
    recorder.finish(10);
}

#[test]
fn a_second_recorder_sees_the_same() {
    if !ready() {
        return;
    }
    let exchanges: Vec<Exchange> = (0..10).map(Exchange::any).collect();
    let steps: Vec<Step> = script(&exchanges, |_| Cut::Whole);
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorders = [(); 2].map(|()| Recorder::start(&common::messages::filter_of(server.address())));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &exchanges, |_| Cut::Whole);
    for recorder in recorders {
        common::messages::check_all(&recorder.finish(10), &exchanges);
    }
}
