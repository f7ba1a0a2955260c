//! Every check that must pass, one step after another.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    bind::Bind,
    demo::{Chat, Ports},
    helm,
    podman::Podman,
    process::Crew,
    stack::choose_port,
    tools,
    workspace::{Profile, Workspace, run},
};

/// How long the browser may take for everything it does.
const BROWSER: Duration = Duration::from_secs(300);

#[derive(Args)]
pub(crate) struct Test {
    /// Run only these steps, in the usual order
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Name the steps, run none
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
}

enum Outcome {
    Passed,
    Skipped(String),
}

const STEPS: [Step; 10] = [
    Step {
        name: "fmt",
        about: "the code is formatted",
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "no lint has anything to say",
        run: clippy,
    },
    Step {
        name: "doc",
        about: "the documentation builds without a warning",
        run: doc,
    },
    Step {
        name: "build",
        about: "all programs build",
        run: build,
    },
    Step {
        name: "unit",
        about: "tests and doctests of every crate",
        run: unit,
    },
    Step {
        name: "e2e",
        about: "real NATS servers, gateways and workers, in Rust and Python",
        run: e2e,
    },
    Step {
        name: "helm",
        about: "the chart: every example, with two Helms, for four versions of Kubernetes",
        run: helm,
    },
    Step {
        name: "images",
        about: "the images, built with their Dockerfiles by podman: what is in them, and what is not",
        run: images,
    },
    Step {
        name: "pods",
        about: "the chart, run by podman with these images: echoes, rollouts, an outage of NATS",
        run: pods,
    },
    Step {
        name: "browser",
        about: "the examples in a real browser",
        run: browser,
    },
];

impl Test {
    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for step in &STEPS {
                println!("{:8} {}", step.name, step.about);
            }
            return Ok(());
        }
        for name in &self.only {
            if !STEPS.iter().any(|step| step.name == name) {
                let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
                bail!(
                    "--only: there is no step `{name}`; the steps are {}",
                    known.join(", ")
                );
            }
        }
        raise_descriptor_limit()?;
        let workspace = Workspace::find()?;
        let begin = Instant::now();
        let (mut passed, mut skipped) = (0, Vec::new());
        for step in &STEPS {
            if !self.only.is_empty() && !self.only.iter().any(|name| name == step.name) {
                continue;
            }
            println!("── {}: {}", step.name, step.about);
            let start = Instant::now();
            let outcome =
                (step.run)(&workspace).with_context(|| format!("step {} failed", step.name))?;
            let took = start.elapsed().as_secs_f64();
            match outcome {
                Outcome::Passed => {
                    passed += 1;
                    println!("── {}: passed in {took:.1} s", step.name);
                }
                Outcome::Skipped(why) => {
                    println!("── {}: SKIPPED: {why}", step.name);
                    skipped.push(step.name);
                }
            }
        }
        let skipped = if skipped.is_empty() {
            String::new()
        } else {
            format!(", skipped: {}", skipped.join(", "))
        };
        let steps = if passed == 1 { "step" } else { "steps" };
        println!(
            "── {passed} {steps} passed in {:.0} s{skipped}",
            begin.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<Outcome> {
    run(workspace.cargo(args))?;
    Ok(Outcome::Passed)
}

fn fmt(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["fmt", "--all", "--check"])
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    cargo(
        workspace,
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

fn doc(workspace: &Workspace) -> Result<Outcome> {
    let mut doc = workspace.cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(doc)?;
    Ok(Outcome::Passed)
}

fn build(workspace: &Workspace) -> Result<Outcome> {
    cargo(workspace, &["build", "--quiet", "--workspace", "--bins"])
}

fn unit(workspace: &Workspace) -> Result<Outcome> {
    run(cargo_test(
        workspace,
        &["--workspace", "--exclude", "gatebus-tests"],
    )?)?;
    Ok(Outcome::Passed)
}

/// These tests run programs of other crates, which the step before has built.
fn e2e(workspace: &Workspace) -> Result<Outcome> {
    build(workspace)?;
    let has_php = php()?.is_some();
    let mut test = cargo_test(workspace, &["--package", "gatebus-tests"])?;
    test.env("GATEBUS_PYTHON", tools::python(workspace)?);
    if !has_php {
        test.args(["--", "--skip", "works_in_php"]);
    }
    run(test)?;
    Ok(match has_php {
        true => Outcome::Passed,
        false => Outcome::Skipped(
            "of it what is in PHP: no php in PATH, and only root can install one; the rest passed"
                .to_owned(),
        ),
    })
}

/// These tests start programs of other crates too.
fn helm(workspace: &Workspace) -> Result<Outcome> {
    build(workspace)?;
    helm::test(workspace)?;
    Ok(Outcome::Passed)
}

fn images(workspace: &Workspace) -> Result<Outcome> {
    with_podman(workspace, Podman::test_images)
}

fn pods(workspace: &Workspace) -> Result<Outcome> {
    with_podman(workspace, Podman::test_chart)
}

/// Does something with the images where containers run; in CI that is everywhere.
fn with_podman<'w>(
    workspace: &'w Workspace,
    test: fn(&Podman<'w>) -> Result<()>,
) -> Result<Outcome> {
    match Podman::find(workspace)? {
        Ok(podman) => {
            podman.build_images()?;
            test(&podman)?;
            Ok(Outcome::Passed)
        }
        Err(why) if in_ci() => bail!("podman does not run: {why}"),
        Err(why) => Ok(Outcome::Skipped(format!("podman does not run: {why}"))),
    }
}

/// In CI nothing may be left out, so that no test can vanish unseen.
fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| ci == "true")
}

fn cargo_test(workspace: &Workspace, packages: &[&str]) -> Result<Command> {
    let mut test = workspace.cargo(&["test", "--quiet"]);
    test.args(packages)
        .env("NATS_SERVER_BIN", tools::nats_server(workspace)?);
    Ok(test)
}

fn browser(workspace: &Workspace) -> Result<Outcome> {
    let Some(chromium) = chromium()? else {
        return Ok(Outcome::Skipped(
            "no Chromium in PATH, and only root can install one; or name one in CHROMIUM_BIN"
                .to_owned(),
        ));
    };
    let Some(php) = php()? else {
        return Ok(Outcome::Skipped(
            "no php in PATH, and only root can install one".to_owned(),
        ));
    };
    build(workspace)?;
    let (node, npm) = tools::node()?;
    let folder = workspace.root().join("tests/browser");
    let modules = tools::node_modules(workspace, &npm, &folder)?;
    let nats_server = tools::nats_server(workspace)?;
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ports = Ports {
        page: choose_port(host, None, 0, "")?,
        ..Ports::default()
    };

    let crew = Crew::new(false)?;
    let chat = Chat::start(&crew, workspace, Profile::Debug, &nats_server, host, &ports)?;
    let programs = (nats_server.as_path(), Some(php.as_path()));
    let ports = Ports {
        page: choose_port(host, None, 0, "")?,
        ..Ports::default()
    };
    let bind = Bind::start(&crew, workspace, Profile::Debug, programs, host, &ports)?;
    let mut script = Command::new(node);
    script
        .args(["--test", "--test-reporter", "spec", "chat.mjs", "bind.mjs"])
        .current_dir(&folder);
    script
        .env("CHAT_PAGE", &chat.page)
        .env("BIND_PAGE_RUST", &bind.rust)
        .env("BIND_PAGE_PHP", bind.php.as_deref().unwrap_or_default())
        .env("NATS_URL", &chat.nats.url)
        .env("CHROMIUM_BIN", chromium)
        .env("PLAYWRIGHT", modules);
    let script = crew.start_shown("browser", script)?;
    if let Err(error) = crew.wait_for_end(script, BROWSER) {
        crew.tell_last_words();
        return Err(error);
    }
    crew.stop_all();
    Ok(Outcome::Passed)
}

/// PHP; in CI a missing one is a failure.
fn php() -> Result<Option<PathBuf>> {
    if let Some(found) = tools::php() {
        return Ok(Some(found));
    }
    if tools::can_install() {
        tools::install(&["php-cli"])?;
        return Ok(tools::php());
    }
    if in_ci() {
        bail!("no php in PATH, and only root can install one");
    }
    Ok(None)
}

/// The browser; in CI a missing one is a failure, so that the test cannot vanish unseen.
fn chromium() -> Result<Option<PathBuf>> {
    if let Some(found) = tools::chromium()? {
        return Ok(Some(found));
    }
    if tools::can_install() {
        tools::install(&["chromium"])?;
        return tools::chromium();
    }
    if in_ci() {
        bail!("no Chromium in PATH, and only root can install one");
    }
    Ok(None)
}

/// The end-to-end tests open some thousand sockets.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the descriptor limit")
}
