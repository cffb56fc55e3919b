//! Sets `LOTERIA_VERSION`: the version of the package and, in release builds of a Git checkout, the
//! commit.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LOTERIA_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo:rustc-env=LOTERIA_VERSION={version}");
}

/// Returns LOTERIA_COMMIT, which builds outside of a checkout can set, or the commit that is
/// checked out. Debug builds have none, because they would be built again after each commit.
fn commit() -> Option<String> {
    if let Ok(commit) = env::var("LOTERIA_COMMIT") {
        return Some(commit).filter(|commit| !commit.is_empty());
    }
    if env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return None;
    }
    // HEAD changes with the branch, and its log with each commit.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--path-format=absolute", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    // The sources of an archive may lie in another project's checkout.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// Returns what a Git command prints, or none if Git is missing or this is no checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
