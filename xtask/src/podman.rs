//! Podman: the images, and the chart really run with them.
//!
//! What is done with it stands in `tests/podman`, in Python; this finds out whether it can be done here.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    helm, tools,
    workspace::{Workspace, run},
};

/// What containers in a network of their own need, as Debian's packages.
const PACKAGES: [&str; 6] = [
    "podman",
    "runc",
    "netavark",
    "aardvark-dns",
    "iptables",
    "iproute2",
];

/// By which status the probe says that no container can run here.
const UNUSABLE: i32 = 3;

/// Containers that run on this machine.
pub(crate) struct Podman<'a> {
    workspace: &'a Workspace,
    python: PathBuf,
}

impl<'a> Podman<'a> {
    /// Installs it where it is missing, if that is allowed, and runs a container; or why none can run.
    pub(crate) fn find(workspace: &'a Workspace) -> Result<Result<Self, String>> {
        let podman = Self {
            workspace,
            python: tools::python(workspace)?,
        };
        let Err(first) = podman.probe()? else {
            return Ok(Ok(podman));
        };
        if !tools::can_install() {
            return Ok(Err(first));
        }
        eprintln!("podman: {first}; installing it");
        tools::install(&PACKAGES)?;
        Ok(podman.probe()?.map(|()| podman))
    }

    /// Builds the images, with the Dockerfiles that ship. What has not changed is not built again.
    pub(crate) fn build_images(&self) -> Result<()> {
        let mut build = self.python("images.py")?;
        build.env("CARGO_TERM_COLOR", "never");
        run(build).context("building the images")
    }

    pub(crate) fn test_images(&self) -> Result<()> {
        self.pytest("test_images.py")
    }

    pub(crate) fn test_chart(&self) -> Result<()> {
        self.pytest("test_chart_runs.py")
    }

    fn probe(&self) -> Result<Result<(), String>> {
        let mut probe = self.python("engine.py")?;
        probe.arg("probe").stdin(Stdio::null());
        let output = probe.stderr(Stdio::inherit()).output()?;
        match output.status.code() {
            Some(0) => Ok(Ok(())),
            Some(UNUSABLE) => Ok(Err(String::from_utf8_lossy(&output.stdout)
                .trim()
                .to_owned())),
            _ => bail!("finding out whether podman runs failed ({})", output.status),
        }
    }

    /// Runs tests in namespaces of their own.
    fn pytest(&self, file: &str) -> Result<()> {
        let mut test = self.python("engine.py")?;
        test.arg("apart")
            .arg(&self.python)
            .args(["-m", "pytest", file]);
        helm::name(self.workspace, &mut test)?;
        run(test).with_context(|| format!("tests/podman/{file}"))
    }

    fn python(&self, script: &str) -> Result<Command> {
        let mut python = Command::new(&self.python);
        python
            .arg(script)
            .current_dir(self.folder())
            .env("PODMAN_FOLDER", self.workspace.podman())
            .env("NATS_SERVER_BIN", tools::nats_server(self.workspace)?)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        // The toolchain that builds the rest builds the images.
        if let Some(cargo) = env::var_os("CARGO")
            .as_deref()
            .map(Path::new)
            .and_then(Path::parent)
        {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(cargo.to_owned()).chain(env::split_paths(&path));
            python.env("PATH", env::join_paths(folders)?);
        }
        Ok(python)
    }

    fn folder(&self) -> PathBuf {
        self.workspace.root().join("tests/podman")
    }
}
