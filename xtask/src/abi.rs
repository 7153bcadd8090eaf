//! The border with the kernel's side for Rust: `crates/capture/src/abi.rs` from `src/bpf/abi.h`.
//!
//! The header is read for names only; the C compiler says what their values, sizes and offsets are. They are then
//! asserted once more by the compiler of the BPF programs, with `-Wpadded`. The alternative, bindgen, needs libclang for
//! a few dozen numbers.

use std::fmt::Write;
use std::process::Command;

use crate::{Result, generated, output, read, top};

const HEADER: &str = "crates/capture/src/bpf/abi.h";
const GENERATED: &str = "crates/capture/src/abi.rs";

/// A module of [`GENERATED`] and what it is made of.
struct Module {
    name: &'static str,
    /// Of its constants.
    kind: &'static str,
    /// What is said about it after its C name.
    about: &'static str,
    source: Source,
}

enum Source {
    /// All values of an enum.
    Enum(&'static str),
    /// Offsets of all members of a struct, in bytes, its size as `BYTES`, and more: name, C expression, meaning.
    Struct(&'static str, &'static [(&'static str, &'static str, &'static str)]),
}

/// What user space needs to know. All numbers that the header defines come besides.
const MODULES: [Module; 12] = [
    Module { name: "kind", kind: "u8", about: "", source: Source::Enum("ht_kind") },
    Module { name: "direction", kind: "u8", about: "", source: Source::Enum("ht_direction") },
    Module { name: "chunk", kind: "u8", about: "", source: Source::Enum("ht_chunk") },
    Module { name: "flag", kind: "u16", about: "bits of `flags`", source: Source::Enum("ht_flag") },
    Module { name: "offset", kind: "usize", about: "", source: Source::Struct("ht_record", &[]) },
    Module { name: "counters", kind: "usize", about: "", source: Source::Struct("ht_counters", &[]) },
    Module { name: "shared", kind: "usize", about: "", source: Source::Struct("ht_shared", &[]) },
    Module {
        name: "sock",
        kind: "u16",
        about: "what a filter program reads and writes",
        source: Source::Struct(
            "ht_sock",
            &[
                (
                    "FORWARD",
                    "offsetof(struct ht_sock, dir[0])",
                    "the filter program finds the packet's header here",
                ),
                ("MIRRORED", "offsetof(struct ht_sock, dir[1])", "and here that of an answer to it"),
            ],
        ),
    },
    Module { name: "cell", kind: "usize", about: "", source: Source::Struct("ht_cell", &[]) },
    Module { name: "lane", kind: "usize", about: "", source: Source::Struct("ht_lane", &[]) },
    Module { name: "resync_key", kind: "usize", about: "", source: Source::Struct("ht_resync_key", &[]) },
    Module { name: "resync", kind: "usize", about: "", source: Source::Struct("ht_resync", &[]) },
];

/// Constants whose type is not usize.
const KINDS: [(&str, &str); 4] =
    [("VERSION", "u16"), ("SLOTS", "u32"), ("CALL_FILTER", "u32"), ("CALL_RESUME", "u32")];

/// A named thing of the header and what its comment says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Name {
    name: String,
    comment: String,
}

/// The names in the header.
#[derive(Default, Debug)]
struct Names {
    defines: Vec<Name>,
    enums: Vec<(String, Vec<Name>)>,
    structs: Vec<(String, Vec<Name>)>,
}

/// A constant to be made: its Rust name and type, and the C expression of its value.
struct Constant {
    name: String,
    kind: String,
    expression: String,
    comment: String,
}

/// Writes the file, or compares it.
pub(crate) fn run(check: bool) -> Result<()> {
    let names = parse(&read(HEADER)?)?;
    let sections = sections(&names)?;
    let constants: Vec<&Constant> = sections.iter().flat_map(|(_, constants)| constants).collect();
    let values = values(&constants)?;
    assert_values(&names, &constants, &values)?;
    generated(GENERATED, &write(&sections, &values), check, "abi")
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Takes a line apart into code and what its comment says.
fn split_comment(line: &str) -> (String, String) {
    match line.split_once("/*") {
        Some((code, rest)) => {
            let (comment, after) = rest.split_once("*/").unwrap_or((rest, ""));
            (format!("{code}{after}").trim().to_owned(), comment.trim().to_owned())
        }
        None => (line.trim().to_owned(), String::new()),
    }
}

/// Finds the names. The header keeps to one member a line, so that this stays simple.
fn parse(header: &str) -> Result<Names> {
    enum Within {
        Nothing,
        Comment,
        Enum(String, Vec<Name>),
        Struct(String, Vec<Name>),
    }
    let mut names = Names::default();
    let mut within = Within::Nothing;
    for (index, line) in header.lines().enumerate() {
        let wrong = |what: &str| format!("{HEADER}:{}: {what}: {line}", index + 1);
        let (code, comment) = split_comment(line);
        within = match within {
            Within::Comment if line.contains("*/") => Within::Nothing,
            Within::Nothing if line.trim_start().starts_with("/*") && !line.contains("*/") => Within::Comment,
            Within::Nothing => {
                if let Some(rest) = code.strip_prefix("#define HT_")
                    && let Some((name, _)) = rest.split_once(char::is_whitespace)
                {
                    names.defines.push(Name { name: format!("HT_{name}"), comment });
                    Within::Nothing
                } else if let Some(name) = code.strip_prefix("enum ").and_then(|c| c.strip_suffix(" {")) {
                    Within::Enum(name.to_owned(), Vec::new())
                } else if let Some(name) = code.strip_prefix("struct ").and_then(|c| c.strip_suffix(" {")) {
                    Within::Struct(name.to_owned(), Vec::new())
                } else {
                    Within::Nothing
                }
            }
            Within::Enum(name, values) if code == "};" => {
                names.enums.push((name, values));
                Within::Nothing
            }
            Within::Struct(name, members) if code == "};" => {
                names.structs.push((name, members));
                Within::Nothing
            }
            other if code.is_empty() => other,
            Within::Enum(tag, mut values) => {
                let name = code.split(['=', ',']).next().unwrap_or_default().trim();
                if !is_identifier(name) || !code.ends_with(',') {
                    return Err(wrong("is not one value, ended by a comma"));
                }
                values.push(Name { name: name.to_owned(), comment });
                Within::Enum(tag, values)
            }
            Within::Struct(tag, mut members) => {
                let declaration = code.split(['[', ';']).next().unwrap_or_default();
                let name = declaration.rsplit(char::is_whitespace).next().unwrap_or_default();
                if !is_identifier(name) || code.matches(';').count() != 1 || code.contains(',') {
                    return Err(wrong("is not one member"));
                }
                members.push(Name { name: name.to_owned(), comment });
                Within::Struct(tag, members)
            }
            Within::Comment => Within::Comment,
        };
    }
    match within {
        Within::Nothing => Ok(names),
        _ => Err(format!("{HEADER}: ends within a comment, enum or struct")),
    }
}

fn find<'a>(all: &'a [(String, Vec<Name>)], tag: &str) -> Result<&'a [Name]> {
    match all.iter().find(|(name, _)| name == tag) {
        Some((_, members)) => Ok(members),
        None => Err(format!("{HEADER}: {tag} is not there; MODULES of xtask/src/abi.rs names it")),
    }
}

/// `HT_ABI_VERSION` is `VERSION` in Rust.
fn rust_name(c_name: &str) -> String {
    let name = c_name.strip_prefix("HT_").unwrap_or(c_name);
    name.strip_prefix("ABI_").unwrap_or(name).to_ascii_uppercase()
}

fn constant(c_name: &Name, kind: &str, expression: String) -> Constant {
    let name = rust_name(&c_name.name);
    Constant { name, kind: kind.to_owned(), expression, comment: c_name.comment.clone() }
}

/// What each module holds; the first section is what stands outside of all.
fn sections(names: &Names) -> Result<Vec<(Option<&'static Module>, Vec<Constant>)>> {
    let kind = |name: &str| KINDS.iter().find(|(n, _)| *n == name).map_or("usize", |(_, kind)| kind);
    let mut outside: Vec<Constant> =
        names.defines.iter().map(|n| constant(n, kind(&rust_name(&n.name)), n.name.clone())).collect();
    for call in find(&names.enums, "ht_call")? {
        outside.push(constant(call, kind(&rust_name(&call.name)), call.name.clone()));
    }
    let sized = |name: &str, expression: &str, comment: &str| Constant {
        name: name.to_owned(),
        kind: "usize".to_owned(),
        expression: expression.to_owned(),
        comment: comment.to_owned(),
    };
    outside.push(sized(
        "RECORD_BYTES",
        "sizeof(struct ht_record)",
        "what precedes the copied bytes of a record",
    ));
    outside.push(sized(
        "COUNTERS",
        "sizeof(struct ht_counters) / 8",
        "members of the counters, 8 bytes each",
    ));
    let mut sections = vec![(None, outside)];
    for module in &MODULES {
        let constants = match module.source {
            Source::Enum(tag) => find(&names.enums, tag)?
                .iter()
                .map(|value| constant(value, module.kind, value.name.clone()))
                .collect(),
            Source::Struct(tag, more) => {
                let mut constants: Vec<Constant> = find(&names.structs, tag)?
                    .iter()
                    .map(|m| constant(m, module.kind, format!("offsetof(struct {tag}, {})", m.name)))
                    .collect();
                constants.extend(more.iter().map(|(name, expression, comment)| Constant {
                    kind: module.kind.to_owned(),
                    ..sized(name, expression, comment)
                }));
                let size = sized("BYTES", &format!("sizeof(struct {tag})"), "size of the whole");
                constants.push(Constant { kind: module.kind.to_owned(), ..size });
                constants
            }
        };
        sections.push((Some(module), constants));
    }
    Ok(sections)
}

const INCLUDES: &str = "#include <stddef.h>\n#include \"abi.h\"\n";

/// A compiler, looking for the header where it is, with its source from `source`.
fn compile(compiler: &str, flags: &[&str], source: &str, name: &str) -> Result<std::path::PathBuf> {
    let folder = top().join("target/xtask");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (input, result) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&input, source).map_err(|e| format!("{}: {e}", input.display()))?;
    let mut command = Command::new(compiler);
    command.args(flags).arg("-I").arg(top().join("crates/capture/src/bpf")).arg(&input);
    command.arg("-o").arg(&result);
    output(&mut command)?;
    Ok(result)
}

/// What the expressions come to, said by the compiler.
fn values(constants: &[&Constant]) -> Result<Vec<u64>> {
    let mut source = format!("#include <stdio.h>\n{INCLUDES}int main(void)\n{{\n");
    for constant in constants {
        let _ = writeln!(source, "\tprintf(\"%llu\\n\", (unsigned long long)({}));", constant.expression);
    }
    source.push_str("\treturn 0;\n}\n");
    let program = compile("cc", &["-Wall", "-Werror"], &source, "abi-values")?;
    let text = output(&mut Command::new(program))?;
    let values: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if values.len() == constants.len() { Ok(values) } else { Err(format!("not a number a line:\n{text}")) }
}

/// The compiler of the BPF programs comes to the same, and finds no padding that is not written down.
fn assert_values(names: &Names, constants: &[&Constant], values: &[u64]) -> Result<()> {
    let mut source = INCLUDES.to_owned();
    for (tag, _) in &names.structs {
        let _ = writeln!(source, "_Static_assert(sizeof(struct {tag}) % 4 == 0, \"{tag}\");");
    }
    for (constant, value) in constants.iter().zip(values) {
        let Constant { expression, .. } = constant;
        let _ = writeln!(source, "_Static_assert(({expression}) == {value}ULL, \"{expression}\");");
    }
    let flags = [
        "-target",
        "bpf",
        "-c",
        "-Wall",
        "-Wpadded",
        "-Werror",
        // <asm/types.h> lies under the multiarch folder on Debian and Ubuntu.
        "-I/usr/include/x86_64-linux-gnu",
        "-I/usr/include/aarch64-linux-gnu",
    ];
    compile("clang", &flags, &source, "abi-asserts").map(drop)
}

fn write(sections: &[(Option<&'static Module>, Vec<Constant>)], values: &[u64]) -> String {
    let mut text = "\
// Generated by `cargo xtask abi` from src/bpf/abi.h.
//! The border with the kernel's side, as `abi.h` has it.
"
    .to_owned();
    let mut values = values.iter();
    for (module, constants) in sections {
        let indent = if module.is_some() { "    " } else { "" };
        text.push('\n');
        if let Some(Module { name, about, source, .. }) = module {
            let head = match source {
                Source::Enum(tag) => format!("`enum {tag}`"),
                Source::Struct(tag, _) => format!("Offsets in `struct {tag}`, in bytes"),
            };
            let about = if about.is_empty() { String::new() } else { format!(": {about}") };
            let _ = writeln!(text, "/// {head}{about}.\npub mod {name} {{");
            // Members whose name says it all have no comment.
            if constants.iter().any(|c| c.comment.is_empty()) {
                text.push_str("    #![allow(missing_docs)]\n");
            }
        }
        for (Constant { name, kind, expression, comment }, value) in constants.iter().zip(&mut values) {
            match (comment.is_empty(), module) {
                (false, _) => {
                    let _ = writeln!(text, "{indent}/// {comment}");
                }
                (true, None) => {
                    let _ = writeln!(text, "{indent}/// `{expression}`");
                }
                (true, Some(_)) => {}
            }
            let _ = writeln!(text, "{indent}pub const {name}: {kind} = {value};");
        }
        if module.is_some() {
            text.push_str("}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_comments() {
        let names = parse(
            "/*\n * struct not {\n */\n#define HT_A 1 /* one */\n#define OTHER 2\nenum e {\n\tHT_B = 1,  /* b */\n\tHT_C,\n};\n\
             struct s {\n\t/* The pair. */\n\t__u32 a;\n\n\tstruct t b[2]; /* two */\n};\n",
        )
        .unwrap();
        let name = |name: &str, comment: &str| Name { name: name.to_owned(), comment: comment.to_owned() };
        assert_eq!(names.defines, [name("HT_A", "one")]);
        assert_eq!(names.enums, [("e".to_owned(), vec![name("HT_B", "b"), name("HT_C", "")])]);
        assert_eq!(names.structs, [("s".to_owned(), vec![name("a", ""), name("b", "two")])]);
    }

    #[test]
    fn two_members_on_a_line_are_refused() {
        assert!(parse("struct s {\n\t__u32 a, b;\n};\n").unwrap_err().contains("abi.h:2"));
        assert!(parse("struct s {\n\t__u32 a; __u32 b;\n};\n").is_err());
        assert!(parse("struct s {\n").is_err());
    }
}
