//! What the daemon does when the disk of its journal does not take what it writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::journal::{cat, daemon, of_type, refused, status, verify};
use common::{DEADLINE, curl, ready, run};
use headtrail_journal::cursor::Position;
use headtrail_journal::reader::{Next, Reader};
use headtrail_journal::storage::Disk;
use headtrail_testkit::process::Watch;
use headtrail_testkit::rng::Rng;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{TempDir, eventually};
use serde_json::Value;

#[test]
fn a_full_disk_costs_records_and_says_so_and_then_it_goes_on() {
    if !ready() || !common::has("nginx") || !common::has("mount") {
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let url = format!("http://{}/", nginx.address());
    let disk = SmallDisk::new("2m");
    let data_dir = disk.folder.path();
    let watch = Watch::start(daemon(data_dir, &format!("port {}", nginx.address().port())));
    let ballast = data_dir.join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).expect_err("the disk is full");
    run(&mut curl(&[&url]));
    eventually("it says that the disk is full", DEADLINE, || {
        let stderr = watch.stderr();
        stderr.contains("the journal: ").then_some(())
    });
    std::fs::remove_file(&ballast).unwrap();
    eventually("it goes on", DEADLINE, || watch.stderr().contains("written again").then_some(()));
    run(&mut curl(&[&url]));
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    // What waited in memory meanwhile is not lost.
    assert_eq!(of_type(&cat(data_dir), "transaction").len(), 2);
}

/// A file system that is soon full.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn new(size: &str) -> SmallDisk {
        let folder = TempDir::new().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "headtrail-test"]).arg(folder.path());
        assert!(mount.status().unwrap().success());
        SmallDisk { folder }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

/// A read-only view of a folder that lies on it until this is dropped.
///
/// The file system itself cannot be made read-only under a daemon that has files open for writing: the kernel says that it is
/// busy. As far as a disk can be tested that comes back, this is it: what is open can still be written, names
/// cannot. [`a_file_system_that_fails_costs_nothing_that_was_synced`] has one that does not come back.
struct ReadOnly<'a>(&'a Path);

impl ReadOnly<'_> {
    fn over(folder: &Path) -> ReadOnly<'_> {
        mount(&["--bind", folder.to_str().unwrap(), folder.to_str().unwrap()]);
        mount(&["-o", "remount,bind,ro", folder.to_str().unwrap()]);
        ReadOnly(folder)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn mount(args: &[&str]) {
    run(Command::new("mount").args(args));
}

/// A request whose lines do not get smaller by packing, of some 20 KiB.
fn noisy(rng: &mut Rng) -> String {
    let mut request = "GET /noise HTTP/1.1\r\nHost: a\r\n".to_owned();
    for line in 0..3 {
        request += &format!("X-Noise-{line}:");
        (0..900).for_each(|_| request += &format!(" {:06x}", rng.below(1 << 24)));
        request += "\r\n";
    }
    request + "\r\n"
}

/// Sends `count` of them on one connection.
fn send_noise(address: SocketAddr, count: usize, rng: &mut Rng) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = [0; 4096];
    for _ in 0..count {
        stream.write_all(noisy(rng).as_bytes()).unwrap();
        assert!(stream.read(&mut answer).unwrap() > 0);
    }
}

/// What a status says is lost.
fn lost(status: &Value, stage: &str, what: &str) -> u64 {
    let lost = status["lost"].as_array().unwrap().iter();
    let of_stage = lost.filter(|lost| lost["stage"] == stage && lost["what"] == what);
    of_stage.map(|lost| lost["count"].as_u64().unwrap()).sum()
}

#[test]
fn a_read_only_disk_costs_what_has_no_room_and_no_more_and_then_it_goes_on() {
    if !ready() || !common::has("nginx") || !common::has("mount") {
        return;
    }
    let server = "large_client_header_buffers 8 16k; keepalive_requests 1000000;";
    let nginx = Nginx::start(&NginxOptions { server, ..NginxOptions::default() });
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = folder.path().join("headtrail.toml");
    std::fs::write(&config, "[journal]\nsegment = '1MiB'\n[memory]\nceiling = '128MiB'\n").unwrap();
    let mut command = daemon(data_dir.path(), "");
    command.arg("-c").arg(&config).args(["port", &nginx.address().port().to_string()]);
    let watch = Watch::start(command);
    let mut rng = Rng::new(5);
    send_noise(nginx.address(), 10, &mut rng);
    let mut sent = 10;
    eventually("they are synced", DEADLINE, || {
        (status(data_dir.path())?["journal"]["synced_record"].as_u64()? >= sent).then_some(())
    });

    let journal = data_dir.path().join("journal");
    let read_only = ReadOnly::over(&journal);
    eventually("records are lost", 4 * DEADLINE, || {
        send_noise(nginx.address(), 200, &mut rng);
        sent += 200;
        status(data_dir.path()).filter(|status| lost(status, "journal", "records") > 0)
    });
    let told = status(data_dir.path()).unwrap();
    assert!(told["journal"]["write_errors"].to_string().contains("read_only"), "{told}");
    drop(read_only);
    eventually("it goes on", DEADLINE, || watch.stderr().contains("written again").then_some(()));
    send_noise(nginx.address(), 10, &mut rng);
    sent += 10;
    let taken_ns = |status: &Value| status["taken_ns"].as_u64();
    let before = status(data_dir.path()).as_ref().and_then(taken_ns);
    let told = eventually("all is written", DEADLINE, || {
        let written = |status: &Value| status["journal"]["unsynced_blocks"] == 0;
        status(data_dir.path()).filter(|status| taken_ns(status) > before && written(status))
    });
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    let words: Vec<_> = finished.stderr.lines().filter(|line| line.contains("the journal: ")).collect();
    assert!(words.len() == 1 && words[0].contains("Read-only file system"), "once: {}", finished.stderr);
    assert_eq!(verify(data_dir.path(), &[]).0, 0);
    let records = cat(data_dir.path());
    let there = of_type(&records, "transaction").iter().filter(|t| t["request"].is_object()).count() as u64;
    // All that is missing is told; such a burst is too much also for the rings. What the journal lost may be other records, too.
    let disk = lost(&told, "journal", "records");
    let others = lost(&told, "kernel", "requests") + lost(&told, "memory", "records");
    println!("{sent} sent = {there} there + {disk} lost by the disk + {others} by others");
    assert!(disk > 0 && there < sent && there + disk + others >= sent, "{told}");
    let losses = of_type(&records, "loss");
    let of_journal = losses.iter().filter(|loss| loss["stage"] == "journal" && loss["reason"] == "backlog");
    let on_record: u64 = of_journal.map(|loss| loss["count"].as_u64().unwrap()).sum();
    assert_eq!(on_record, disk, "{losses:?}");
}

#[test]
fn a_data_directory_that_is_read_only_is_refused_in_clear_words() {
    if !ready() || !common::has("mount") {
        return;
    }
    let disk = SmallDisk::new("2m");
    let data_dir = disk.folder.path();
    let remount = |how: &str| mount(&["-o", &format!("remount,{how}"), data_dir.to_str().unwrap()]);
    let is_refused = || {
        remount("ro");
        let (code, words) = refused(daemon(data_dir, "port 1"));
        assert_eq!(code, 3, "{words}");
        let named = words.contains(data_dir.to_str().unwrap());
        assert!(named && words.contains("Read-only file system"), "{words}");
        remount("rw");
    };
    // A new one, and one that was in use.
    is_refused();
    let start = || assert!(Watch::start(daemon(data_dir, "port 1")).stop().status.success());
    start();
    is_refused();
    start();
    assert_eq!(verify(data_dir, &[]).0, 0);
}

/// A file system in a file.
struct Image {
    at: TempDir,
    file: PathBuf,
    _folder: TempDir,
}

impl Image {
    fn new() -> Image {
        let (at, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = folder.path().join("image");
        std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-e", "remount-ro"]).arg(&file));
        let image = Image { at, file, _folder: folder };
        image.mount();
        image
    }

    fn mount(&self) {
        mount(&["-o", "loop", self.file.to_str().unwrap(), self.at.path().to_str().unwrap()]);
    }

    fn unmount(&self) {
        run(Command::new("umount").arg(self.at.path()));
    }

    /// Makes the kernel believe that it has found an error in it, upon which it writes nothing any more.
    fn fail(&self) {
        let device = run(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.at.path()));
        let device = device.trim().rsplit('/').next().unwrap().to_owned();
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "test").unwrap();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

#[test]
fn a_file_system_that_fails_costs_nothing_that_was_synced() {
    let programs = ["nginx", "mount", "mkfs.ext4", "findmnt", "e2fsck"];
    if !ready() || !programs.iter().all(|program| common::has(program)) {
        return;
    }
    if !Path::new("/dev/loop-control").exists() {
        headtrail_testkit::skip("there are no loop devices");
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let url = format!("http://{}/", nginx.address());
    let image = Image::new();
    let data_dir = image.at.path();
    let filter = format!("port {}", nginx.address().port());
    let watch = Watch::start(daemon(data_dir, &filter));
    run(&mut curl(&[&url]));
    let synced = || status(data_dir)?["journal"]["synced_record"].as_u64();
    let known = eventually("it is synced", DEADLINE, || synced().filter(|synced| *synced >= 2));
    image.fail();
    run(&mut curl(&[&url]));
    eventually("it says so", DEADLINE, || watch.stderr().contains("the journal: ").then_some(()));
    assert!(synced().unwrap() >= known);
    let finished = watch.stop();
    assert!(finished.stderr.contains("Read-only file system"), "{}", finished.stderr);
    image.unmount();
    // 1: it has mended something.
    let mended = Command::new("e2fsck").args(["-f", "-y"]).arg(&image.file).output().unwrap();
    assert!(mended.status.code().is_some_and(|code| code <= 1), "{mended:?}");
    image.mount();
    let watch = Watch::start(daemon(data_dir, &filter));
    run(&mut curl(&[&url]));
    assert!(watch.stop().status.success());
    let (code, words) = verify(data_dir, &[]);
    assert_eq!(code, 0, "{words}");
    let records = cat(data_dir);
    assert!(of_type(&records, "transaction").len() >= 2 && records.len() as u64 >= known, "{records:?}");
    let events: Vec<_> = of_type(&records, "lifecycle").iter().map(|r| r["event"].clone()).collect();
    assert_eq!(events, ["start", "start_after_unclean_end", "stop"]);
}

/// When the blocks of a journal got their places, by the wall clock.
fn sealed_ns(data_dir: &Path) -> Vec<u64> {
    let mut reader = Reader::open(Arc::new(Disk::new(data_dir)), Position::default()).unwrap();
    let mut times = Vec::new();
    while let Some(next) = reader.next_block().unwrap() {
        let Next::Block(block) = next else { panic!("all is there") };
        times.push(block.header.sealed_ns);
    }
    times
}

/// The library that `faketime` preloads, for programs with threads.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// The clock of the host is not touched: a library in between tells the daemon another one. It stands between the program and the C
/// library, so it is seen by what asks the standard library for the time, which is the thread of the journal; the capture
/// asks the kernel, once at its start.
#[test]
fn a_clock_that_is_set_back_harms_nothing() {
    if !ready() || !common::has("nginx") || !common::has("faketime") {
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let data_dir = TempDir::new().unwrap();
    // Where the daemon may read it.
    let clock = data_dir.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let mut command = daemon(data_dir.path(), &format!("port {}", nginx.address().port()));
    command.env("LD_PRELOAD", faketime().unwrap()).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let watch = Watch::start(command);
    let call = |count: u64| {
        run(&mut curl(&[&format!("http://{}/{count}", nginx.address())]));
        eventually("it is synced", DEADLINE, || {
            let status = status(data_dir.path())?;
            let journal = &status["journal"];
            (status["transactions"] == count && journal["unsynced_blocks"] == 0).then_some(())
        });
    };
    call(1);
    std::fs::write(&clock, "-2h").unwrap();
    call(2);
    std::fs::write(&clock, "-30d").unwrap();
    call(3);
    std::fs::write(&clock, "+0").unwrap();
    call(4);
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);

    let sealed = sealed_ns(data_dir.path());
    let back_ns = sealed.windows(2).map(|two| two[0].saturating_sub(two[1])).max().unwrap();
    assert!(back_ns > 20 * 86_400 * 1_000_000_000, "the clock was set back: {sealed:?}");
    let (code, words) = verify(data_dir.path(), &[]);
    assert_eq!(code, 0, "{words}");
    let records = cat(data_dir.path());
    let targets: Vec<_> =
        of_type(&records, "transaction").iter().map(|t| t["request"]["target"].clone()).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
    // Records have the time of the clock that does not go back.
    let times: Vec<_> = of_type(&records, "transaction").iter().map(|t| t["time"].clone()).collect();
    assert!(times.windows(2).all(|two| two[0].as_str() < two[1].as_str()), "{times:?}");
    let events: Vec<_> = of_type(&records, "lifecycle").iter().map(|r| r["event"].clone()).collect();
    assert_eq!(events, ["start", "stop"]);
    assert!(of_type(&records, "loss").is_empty());
}
