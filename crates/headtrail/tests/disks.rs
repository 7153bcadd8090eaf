//! What the daemon does when the disk of its journal does not take what it writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;

use common::journal::{cat, daemon, of_type};
use common::{DEADLINE, curl, ready, run};
use headtrail_testkit::process::Watch;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{TempDir, eventually};

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
