//! Compiles the BPF programs and makes a skeleton of each family.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const FAMILIES: [&str; 2] = ["socket", "process"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for family in FAMILIES {
        let source = format!("src/bpf/{family}.bpf.c");
        let result = SkeletonBuilder::new()
            .source(&source)
            .clang_args([
                "-mcpu=v3",
                "-Wall",
                "-Wno-parentheses",
                "-Wno-pass-failed",
                "-Isrc/bpf",
                // <asm/types.h> lies under the multiarch folder on Debian and Ubuntu.
                "-I/usr/include/x86_64-linux-gnu",
                "-I/usr/include/aarch64-linux-gnu",
            ])
            .build_and_generate(out.join(format!("{family}.skel.rs")));
        if let Err(error) = result {
            eprintln!(
                "compiling {source}: {error}\nclang and libelf-dev are needed; `make build` installs them"
            );
            std::process::exit(1);
        }
    }
    println!("cargo:rerun-if-changed=src/bpf");
}
