//! Dependencies point downwards, and each version stands once.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The packages of the workspace from top to bottom: each may know only those after it.
const ORDER: [&str; 12] = [
    "conclave-dvt",
    "conclave-monitor",
    "conclave-validator",
    "conclave-ceremony",
    "conclave-net",
    "conclave-consensus",
    "conclave-beacon",
    "conclave-slashing",
    "conclave-cluster",
    "conclave-eth",
    "conclave-dkg",
    "conclave-crypto",
];
/// What only a program needs.
const OF_THE_PROGRAM: [&str; 7] = [
    "anyhow",
    "clap",
    "clap_complete",
    "clap_mangen",
    "comfy-table",
    "console",
    "tracing-subscriber",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array_mut().unwrap().drain(..).collect()
}

fn place(name: &str) -> Option<usize> {
    ORDER.iter().position(|one| *one == name)
}

#[test]
fn every_arrow_points_downwards() {
    let packages = packages();
    assert_eq!(packages.len(), ORDER.len(), "a package is not in the order");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let from = place(name).unwrap_or_else(|| panic!("{name} is not in the order"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if let Some(to) = place(on) {
                assert!(from < to, "{name} knows {on}, which is above it");
            } else if from > 0 && dependency["kind"].is_null() {
                assert!(
                    !OF_THE_PROGRAM.contains(&on),
                    "{name} knows {on}, which is for programs"
                );
            }
        }
    }
}

#[test]
fn every_version_stands_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(root.join("crates")).unwrap();
    let manifests: Vec<PathBuf> = crates
        .map(|entry| entry.unwrap().path().join("Cargo.toml"))
        .chain([root.join("Cargo.toml")])
        .collect();
    for manifest in manifests {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let mut of_package = false;
        for line in text.lines() {
            if line.starts_with('[') {
                of_package = line.ends_with("dependencies]") && !line.starts_with("[workspace");
            } else if of_package && line.contains('=') && !line.starts_with('#') {
                assert!(
                    line.contains("workspace = true"),
                    "{}: {line}",
                    manifest.display()
                );
            }
        }
    }
}
