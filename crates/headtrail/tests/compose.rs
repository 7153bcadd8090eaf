//! `packaging/compose` without an engine for containers: that its files agree with each other, with the README and with the program.
//!
//! Nothing is fetched. What other people's programs say of the files is asked by `packaging/compose/check`, as far as they are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn folder() -> PathBuf {
    root().join("packaging/compose")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Yaml {
    YamlLoader::load_from_str(&read(path)).unwrap().remove(0)
}

/// The values of `.env`.
fn values() -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let text = read("packaging/compose/.env");
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| pair(line).unwrap())
        .collect()
}

/// Strings of a list, or of one member that is missing.
fn strings(list: &Yaml) -> Vec<&str> {
    list.as_vec().into_iter().flatten().map(|one| one.as_str().unwrap()).collect()
}

fn entries(map: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    map.as_hash().into_iter().flatten().map(|(name, value)| (name.as_str().unwrap(), value))
}

/// All texts within, names of members left out.
fn texts<'a>(yaml: &'a Yaml, all: &mut Vec<&'a str>) {
    match yaml {
        Yaml::String(text) => all.push(text),
        Yaml::Array(list) => list.iter().for_each(|one| texts(one, all)),
        Yaml::Hash(map) => map.values().for_each(|one| texts(one, all)),
        _ => {}
    }
}

/// Names in `${NAME}`; `$$` stands for a `$`.
fn variables(text: &str) -> Vec<&str> {
    text.split("${").skip(1).map(|rest| rest.split_once('}').unwrap().0).collect()
}

/// The ports that services publish, by what is before `:PORT:`.
fn published(compose: &Yaml) -> Vec<&str> {
    entries(&compose["services"]).flat_map(|(_, service)| strings(&service["ports"])).collect()
}

#[test]
fn images_have_versions_and_nothing_is_open_to_other_hosts() {
    let compose = yaml("packaging/compose/docker-compose.yml");
    let values = values();
    let mut used = BTreeSet::new();
    for (name, service) in entries(&compose["services"]) {
        let image = service["image"].as_str().unwrap();
        let variables = variables(image);
        let image = variables.iter().fold(image.to_owned(), |image, variable| {
            image.replace(&format!("${{{variable}}}"), &values[*variable])
        });
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no version"));
        let digits = tag.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).count();
        assert!(digits >= 3 || image == "headtrail:compose", "{name}: {image} is not one version");
        assert!(service["privileged"].is_badvalue(), "{name}");
    }
    for port in published(&compose) {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
    let mut all = Vec::new();
    texts(&compose, &mut all);
    for text in all {
        used.extend(variables(text).into_iter().map(str::to_owned));
    }
    for (_, secret) in entries(&compose["secrets"]) {
        used.insert(secret["environment"].as_str().unwrap().to_owned());
    }
    assert_eq!(used, values.into_keys().collect(), "variables of docker-compose.yml, and of .env");
}

#[test]
fn what_is_mounted_is_there() {
    let compose = yaml("packaging/compose/docker-compose.yml");
    let mut mounted = BTreeSet::new();
    for (name, service) in entries(&compose["services"]) {
        for volume in strings(&service["volumes"]) {
            let (source, _) = volume.split_once(':').unwrap();
            match source.strip_prefix("./") {
                Some(file) => {
                    assert!(folder().join(file).is_file(), "{name}: {source}");
                    assert!(volume.ends_with(":ro"), "{name}: {volume}");
                    mounted.insert(file.to_owned());
                }
                None if source.starts_with('/') => assert_eq!(volume, "/sys/fs/cgroup:/sys/fs/cgroup:ro"),
                None => assert!(!compose["volumes"][source].is_badvalue(), "{name}: {source} is no volume"),
            }
        }
        for secret in strings(&service["secrets"]) {
            assert!(!compose["secrets"][secret].is_badvalue(), "{name}: {secret} is no secret");
        }
        if let Some(dockerfile) = service["build"]["dockerfile"].as_str() {
            let context = folder().join(service["build"]["context"].as_str().unwrap());
            assert_eq!(context.canonicalize().unwrap(), root());
            assert!(context.join(dockerfile).is_file(), "{name}: {dockerfile}");
        }
    }
    let own = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = own.filter(|path| path.is_dir()).flat_map(|path| std::fs::read_dir(path).unwrap());
    let files =
        files.map(|entry| entry.unwrap().path().strip_prefix(folder()).unwrap().to_str().unwrap().to_owned());
    assert_eq!(mounted, files.collect(), "what is mounted, and what there is in the folders");
}

#[test]
fn who_waits_for_a_service_can_be_told() {
    let compose = yaml("packaging/compose/docker-compose.yml");
    let services = &compose["services"];
    for (name, service) in entries(services) {
        for (other, how) in entries(&service["depends_on"]) {
            assert!(!services[other].is_badvalue(), "{name}: {other}");
            let checked = !services[other]["healthcheck"].is_badvalue();
            match how["condition"].as_str().unwrap() {
                "service_healthy" => assert!(checked, "{name}: {other} has no health check"),
                // It ends; what has a health check does not.
                "service_completed_successfully" => assert!(!checked, "{name}: {other} does not end"),
                condition => panic!("{name}: {other}: {condition}"),
            }
        }
    }
}

#[test]
fn ports_names_and_passwords_agree() {
    let compose = yaml("packaging/compose/docker-compose.yml");
    let published = published(&compose);
    let config: toml::Table = read("packaging/compose/headtrail/headtrail.toml").parse().unwrap();
    for (name, ship) in config["ship"].as_table().unwrap() {
        for url in ship["urls"].as_array().unwrap() {
            let address = url.as_str().unwrap().rsplit('/').next().unwrap();
            let port = address.rsplit(':').next().unwrap();
            assert!(published.contains(&format!("{address}:{port}").as_str()), "{name}: {address}");
        }
    }
    let secret = config["ship"]["elasticsearch"]["password_file"].as_str().unwrap();
    let secret = secret.strip_prefix("/run/secrets/").unwrap();
    assert!(strings(&compose["services"]["headtrail"]["secrets"]).contains(&secret));

    let pipeline = read("packaging/compose/logstash/headtrail.conf");
    let tcp = config["ship"]["logstash"]["urls"][0].as_str().unwrap();
    assert!(pipeline.contains(&format!("port => {}\n", tcp.rsplit(':').next().unwrap())));
    assert!(
        !pipeline.contains(&format!("-{}\"", config["ship"]["elasticsearch"]["namespace"].as_str().unwrap()))
    );

    let apisix = yaml("packaging/compose/apisix/config.yaml");
    let listen = &apisix["apisix"]["node_listen"][0];
    assert_eq!((listen["ip"].as_str(), listen["port"].as_i64()), (Some("127.0.0.1"), Some(9080)));
    let admin = &apisix["deployment"]["admin"]["admin_listen"];
    let admin = format!("http://{}:{}/", admin["ip"].as_str().unwrap(), admin["port"].as_i64().unwrap());
    let etcd = apisix["deployment"]["etcd"]["host"][0].as_str().unwrap();
    assert!(
        published.iter().any(|port| etcd.ends_with(&format!("//{}", port.rsplit_once(':').unwrap().0))),
        "{etcd}"
    );
    let route = read("packaging/compose/apisix/route");
    assert!(route.contains(&admin), "{admin}");
    let (_, document) = route.split_once("<<'JSON'\n").unwrap();
    let document: serde_json::Value =
        serde_json::from_str(document.split_once("\nJSON\n").unwrap().0).unwrap();
    let (node, _) = document["upstream"]["nodes"].as_object().unwrap().iter().next().unwrap();
    assert!(read("packaging/compose/upstream/default.conf").contains(&format!("listen {node};")), "{node}");
    let port = node.rsplit(':').next().unwrap();
    assert_eq!(config["capture"]["filter"].as_str(), Some(format!("port 9080 or port {port}").as_str()));
}

#[test]
fn documents_keep_their_ids_through_logstash() {
    let pipeline = read("packaging/compose/logstash/headtrail.conf");
    let code: Vec<&str> = pipeline.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    for line in [
        "enrich => none",
        "remove_field => [\"@version\"]",
        "index => \"logs-%{[event][dataset]}-logstash\"",
        "action => \"create\"",
        "document_id => \"%{[@metadata][_id]}\"",
        "data_stream => false",
        "manage_template => false",
        "ilm_enabled => false",
    ] {
        assert!(code.contains(&line), "{line}");
    }
    // Blocks open at the end of a line and close on one of their own.
    let depths = code.iter().scan(0, |depth: &mut i32, line| {
        *depth += i32::from(line.ends_with('{')) - i32::from(*line == "}");
        Some(*depth)
    });
    let depths: Vec<i32> = depths.collect();
    assert!(depths.iter().all(|depth| (0..3).contains(depth)) && depths.last() == Some(&0), "{depths:?}");
    let quotes = code.iter().filter(|line| line.matches('"').count() % 2 != 0);
    assert_eq!(quotes.count(), 0);
}

#[test]
fn the_program_takes_its_config_and_commands() {
    let headtrail = || Command::new(env!("CARGO_BIN_EXE_headtrail"));
    let config = folder().join("headtrail/headtrail.toml");
    let output = headtrail().args(["config", "check", "-c"]).arg(config).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let compose = yaml("packaging/compose/docker-compose.yml");
    let mut tried = 0;
    for (name, service) in entries(&compose["services"]) {
        let command = strings(&service["command"]);
        if command.first() == Some(&"setup") {
            let output = headtrail().args(command).arg("--dry-run").output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            tried += 1;
        }
    }
    assert_eq!(tried, 2);

    // Those of the page: their commands and flags are in the help.
    for line in read("packaging/compose/README.md").lines() {
        let Some((_, words)) = line.split_once("docker compose exec headtrail headtrail ") else { continue };
        let command = words.split(' ').take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
        let output = headtrail().args(command).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        let help = String::from_utf8(output.stdout).unwrap();
        for flag in words.split(' ').filter(|word| word.starts_with('-')) {
            assert!(help.contains(flag), "{line}: {flag}");
        }
        tried += 1;
    }
    assert!(tried > 5);
}

#[test]
fn the_program_takes_the_configs_of_the_page() {
    let folder = headtrail_testkit::TempDir::new().unwrap();
    let page = read("docs/elk/README.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let path = folder.path().join("headtrail.toml");
        std::fs::write(&path, block).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_headtrail")).args(["config", "check", "-c"]).arg(path).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{block}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_call_is_that_of_the_readme() {
    let call = |path: &str| -> Vec<String> {
        let text = read(path);
        text.lines().map(str::trim).filter(|line| line.starts_with("curl -i ")).map(str::to_owned).collect()
    };
    let calls = call("packaging/compose/README.md");
    assert_eq!(calls.first(), call("README.md").first());
    for part in ["http://127.0.0.1:9080/api/example", "Content-Type: ", "Authorization: Bearer ", " -d "] {
        assert!(calls[0].contains(part), "{part}");
    }
}

#[test]
fn the_image_has_what_building_needs() {
    let dockerfile = read("packaging/compose/Dockerfile");
    let needed = read(".ci/need");
    let (_, build) = needed.split_once("build='\n").unwrap();
    for line in build.split_once("\n'").unwrap().0.lines() {
        let package = line.split(' ').nth(1).unwrap();
        // The image for Rust has these.
        if !["gcc", "make", "pkg-config"].contains(&package) {
            assert!(dockerfile.split_whitespace().any(|word| word == package), "{package}");
        }
    }
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "{version}");
}

#[test]
fn other_programs_find_nothing_wrong() {
    let output = Command::new(folder().join("check")).output().unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    println!("{words}");
}
