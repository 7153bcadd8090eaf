//! openssl s_server and s_client.
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A certificate for server.test and its RSA key, made once a run.
pub fn rsa_files() -> (PathBuf, PathBuf) {
    static MADE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let of = |name: &str| folder.join(format!("{name}-{}.pem", std::process::id()));
        let (certificate, key) = (of("rsa-certificate"), of("rsa-key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=server.test"])
            .args(["-addext", "subjectAltName=DNS:server.test", "-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        (certificate, key)
    })
    .clone()
}
