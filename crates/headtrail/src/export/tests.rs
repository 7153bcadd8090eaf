use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use headtrail_testkit::{TempDir, eventually};

use super::send::{Running, Sender};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
/// Between the tries of these tests.
const RETRY: Duration = Duration::from_millis(20);

/// A program of a few lines, and its words with a folder to work in as the only argument.
fn script(folder: &Path, text: &str) -> Way {
    let path = folder.join("script");
    std::fs::write(&path, format!("#!/bin/sh\ncd \"$1\" || exit 9\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Way::Command(vec![path.to_str().unwrap().to_owned(), folder.to_str().unwrap().to_owned()])
}

fn text(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A helper on a thread instead of in a process, without its sandbox.
fn helper(way: Way, try_max: Duration) -> (Exporter, std::thread::JoinHandle<io::Result<()>>) {
    let (ours, its) = UnixStream::pair().unwrap();
    let sender = Sender::new(way).unwrap().within(try_max);
    let thread = std::thread::spawn(move || helper::work(its, sender, RETRY));
    let mut exporter = Exporter { to: To::Helper(ours), shared: Shared::default(), notes: 0 };
    exporter.listen();
    (exporter, thread)
}

/// Closes the socket as the end of the daemon does, and waits for the helper.
fn close(exporter: Exporter, thread: std::thread::JoinHandle<io::Result<()>>) {
    let To::Helper(socket) = &exporter.to else { panic!("lost") };
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_program_gets_the_note_and_the_end_waits_for_it() {
    let folder = TempDir::new().unwrap();
    let way = script(folder.path(), "sleep 0.2; cat >> out");
    let (mut exporter, thread) = helper(way, DEADLINE);
    exporter.export(b"one\n");
    let shared = exporter.shared();
    shared.wait(DEADLINE, |progress| progress.exported == 1);
    exporter.export(b"two\n");
    let To::Helper(socket) = &exporter.to else { panic!("lost") };
    let socket = socket.try_clone().unwrap();
    exporter.finish();
    assert_eq!(text(folder.path().join("out")), "one\ntwo\n");
    let progress = shared.get();
    assert_eq!((progress.exported, progress.failures, progress.trouble), (2, 0, None));
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn only_the_newest_waits_while_a_program_runs() {
    let folder = TempDir::new().unwrap();
    let way = script(folder.path(), "cat >> out; touch begun; while ! [ -e go ]; do sleep 0.01; done");
    let (mut exporter, thread) = helper(way, DEADLINE);
    exporter.export(b"1\n");
    eventually("the program runs", DEADLINE, || folder.path().join("begun").exists().then_some(()));
    (2..=100).for_each(|n| exporter.export(format!("{n}\n").as_bytes()));
    std::fs::write(folder.path().join("go"), "").unwrap();
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.newest == 100);
    let out = text(folder.path().join("out"));
    assert!(out.starts_with("1\n") && out.ends_with("\n100\n"), "{out}");
    // How many of them were read while it waited is not known: at most one of those between was tried.
    assert!(progress.exported <= 3 && progress.exported == out.lines().count() as u64, "{out}");
    close(exporter, thread);
}

#[test]
fn what_fails_is_tried_again_and_told() {
    let folder = TempDir::new().unwrap();
    let (mut exporter, thread) =
        helper(script(folder.path(), "[ -e there ] || exit 3; cat >> out"), DEADLINE);
    exporter.export(b"one\n");
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.failures >= 2);
    let trouble = progress.trouble.unwrap();
    assert!(trouble.ends_with("script: ends with 3"), "{trouble}");
    std::fs::write(folder.path().join("there"), "").unwrap();
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.exported == 1);
    assert_eq!((progress.trouble, text(folder.path().join("out"))), (None, "one\n".to_owned()));
    close(exporter, thread);

    let (mut exporter, thread) = helper(Way::Command(vec!["/no such program".to_owned()]), DEADLINE);
    exporter.export(b"one\n");
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.failures >= 2);
    let trouble = progress.trouble.unwrap();
    assert!(trouble.starts_with("/no such program: No such file"), "{trouble}");
    close(exporter, thread);
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_what_it_has_started() {
    let folder = TempDir::new().unwrap();
    let way = script(folder.path(), "sleep 60 & echo $! > child; echo $$ > pid; wait");
    let (mut exporter, thread) = helper(way, Duration::from_millis(300));
    exporter.export(b"one\n");
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.failures >= 1);
    let trouble = progress.trouble.unwrap();
    assert!(trouble.contains("has not ended within"), "{trouble}");
    let runs = |name: &str| is_running(&text(folder.path().join(name)));
    close(exporter, thread);
    eventually("nothing is left", DEADLINE, || (!runs("child") && !runs("pid")).then_some(()));
}

#[test]
fn the_end_of_the_recorder_is_that_of_the_program() {
    let folder = TempDir::new().unwrap();
    let (mut exporter, thread) = helper(script(folder.path(), "echo $$ > pid; sleep 60"), DEADLINE);
    exporter.export(b"one\n");
    let pid = || text(folder.path().join("pid"));
    eventually("it runs", DEADLINE, || pid().ends_with('\n').then_some(()));
    assert!(is_running(&pid()));
    close(exporter, thread);
    eventually("it does not run", DEADLINE, || (!is_running(&pid())).then_some(()));
}

/// Is there a process with this number that is not dead?
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A server that answers each request with the next of `answers`, and gives what it was asked.
fn server(answers: &'static [&'static str]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/checkpoints?of=me", listener.local_addr().unwrap());
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 4096];
            while !request.ends_with(b"\nend\n") {
                let read = stream.read(&mut bytes).unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&bytes[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            asked.send(String::from_utf8(request).unwrap()).unwrap();
        }
    });
    (url, requests)
}

#[test]
fn a_server_gets_the_note_by_post_until_it_takes_it() {
    let (url, requests) = server(&[
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    ]);
    let (mut exporter, thread) = helper(Way::Url(url), DEADLINE);
    exporter.export("— note\nend\n".as_bytes());
    let progress = exporter.shared.wait(DEADLINE, |progress| progress.exported == 1);
    assert_eq!((progress.exported, progress.failures, progress.trouble), (1, 3, None));
    for request in requests.iter().take(4) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /checkpoints?of=me HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        for line in ["content-type: text/plain; charset=utf-8", "user-agent: headtrail/"] {
            assert!(head.contains(line), "{head}");
        }
        assert_eq!(body, "— note\nend\n");
    }
    close(exporter, thread);
}

#[test]
fn what_a_server_does_wrong_is_told() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |listener: &TcpListener| Way::Url(format!("http://{}", listener.local_addr().unwrap()));
    let told = |way: Way| {
        let mut sender = Sender::new(way).unwrap().within(Duration::from_millis(300));
        let begin = Instant::now();
        let told = sender.send(b"note", &Running::default()).unwrap_err();
        assert!(begin.elapsed() < DEADLINE / 2);
        told
    };
    let silence = told(url(&silent));
    assert!(silence.contains("timeout"), "{silence}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let way = url(&nobody);
    drop(nobody);
    let refused = told(way);
    assert!(refused.contains("refused"), "{refused}");
    // https without what it takes on the other side.
    let https = told(Way::Url(format!("https://{}", silent.local_addr().unwrap())));
    assert!(!https.is_empty());
}

#[test]
fn a_url_that_is_none_is_refused() {
    assert!(Sender::new(Way::Url("http://[a/".to_owned())).is_err());
    let port = |url: &str| Sender::new(Way::Url(url.to_owned())).unwrap().port();
    assert_eq!(
        [port("https://a/"), port("http://a/b"), port("http://a:81")],
        [Some(443), Some(80), Some(81)]
    );
}

#[test]
fn answers_are_read_as_they_were_written_and_hostile_ones_refused() {
    let long = "ä".repeat(TROUBLE_BYTES_MAX);
    for trouble in [None, Some("\x1b[31m".to_owned()), Some(long)] {
        let answer = Answer { newest: 3, exported: 2, failures: u64::MAX, trouble };
        let mut bytes = Vec::new();
        answer.write(&mut bytes).unwrap();
        let read = Answer::read(&mut &bytes[..]).unwrap();
        assert_eq!((read.newest, read.exported, read.failures), (3, 2, u64::MAX));
        let told = read.trouble.unwrap_or_default();
        assert!(told.len() <= TROUBLE_BYTES_MAX && !told.contains('\x1b'), "{told}");
        assert!(Answer::read(&mut &bytes[..bytes.len() - 1]).is_err());
    }
    assert!(Answer::read(&mut &[0xff; 1000][..]).is_err());
    assert!(read_frame(&mut &[0xff; 1000][..]).is_err());
    assert!(read_frame(&mut &[][..]).unwrap().is_none());
}

#[test]
fn without_a_helper_the_end_does_not_wait() {
    let (ours, its) = UnixStream::pair().unwrap();
    let mut exporter = Exporter { to: To::Helper(ours), shared: Shared::default(), notes: 0 };
    exporter.listen();
    drop(its);
    let begin = Instant::now();
    exporter.export(b"one\n");
    let shared = exporter.shared();
    exporter.finish();
    assert!(begin.elapsed() < END_MAX / 2);
    assert!(shared.get().trouble.unwrap().contains("takes a restart"));
}
