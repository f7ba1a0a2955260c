//! This repository: where its folders are and how its programs are built.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::bind_to_parent;

/// Which build of the programs to use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// The checkout that this xtask was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            target_directory: PathBuf,
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let output = Command::new(cargo())
            .args([
                "metadata",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
            ])
            .arg(manifest)
            .stderr(Stdio::inherit())
            .output()
            .context("running cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed");
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where programs from outside are kept.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where podman keeps images and containers.
    pub(crate) fn podman(&self) -> PathBuf {
        self.target.join("podman")
    }

    /// Where the benchmark leaves its results.
    pub(crate) fn results(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// A program of this repository, built before.
    pub(crate) fn program(&self, profile: Profile, name: &str) -> Result<PathBuf> {
        let folder = match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        };
        let path = self.target.join(folder).join(name);
        if !path.is_file() {
            bail!(
                "{} is missing after the build: does its crate still have a binary of this name?",
                path.display()
            );
        }
        Ok(path)
    }

    /// Builds the binaries of some packages; cargo tells the rest on the terminal.
    pub(crate) fn build(&self, profile: Profile, packages: &[&str]) -> Result<()> {
        let mut command = self.cargo(&["build", "--bins"]);
        if profile == Profile::Release {
            command.arg("--release");
        }
        for package in packages {
            command.args(["--package", package]);
        }
        run(command).with_context(|| format!("building {}", packages.join(", ")))
    }

    /// A cargo command on this workspace.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(args).current_dir(&self.root);
        command
    }
}

/// Runs a command on this terminal to its end; anything but success is an error.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    bind_to_parent(&mut command);
    let status = command
        .status()
        .with_context(|| format!("starting {name}"))?;
    if status.success() {
        return Ok(());
    }
    match command.get_args().next().and_then(|first| first.to_str()) {
        Some(first) if !first.starts_with('-') => bail!("`{name} {first}` failed ({status})"),
        _ => bail!("`{name}` failed ({status})"),
    }
}

fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
