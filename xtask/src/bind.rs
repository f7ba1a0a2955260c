//! The bind example, with everything it needs: its back end in Rust, and in PHP if there is one.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    demo::{Ports, shown_address},
    process::{Crew, Member},
    stack::{Gateway, GatewayPlan, Nats, choose_port, quiet_command, start_worker},
    workspace::{Profile, Workspace},
};

/// The packages that it runs.
pub(crate) const PACKAGES: [&str; 3] = ["gateway-svc", "api-svc", "gatebus-bind"];

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// A bind example that runs.
pub(crate) struct Bind {
    nats: Nats,
    gateway_url: String,
    /// The page of the back end in Rust.
    pub(crate) rust: String,
    /// The page of the back end in PHP.
    pub(crate) php: Option<String>,
    /// Everybody who has to stay.
    pub(crate) members: Vec<Member>,
}

impl Bind {
    /// Starts NATS, a worker, a gateway with two shards and the back end in Rust; with `php` the API
    /// and the back end in PHP too.
    pub(crate) fn start(
        crew: &Crew,
        workspace: &Workspace,
        profile: Profile,
        (nats_server, php): (&Path, Option<&Path>),
        host: IpAddr,
        ports: &Ports,
    ) -> Result<Self> {
        let nats = Nats::start(crew, nats_server, ports.nats)?;
        let worker = workspace.program(profile, "gatebus-bind-worker")?;
        let mut members = vec![nats.member, start_worker(crew, &nats, "worker", &worker)?];
        let plan = GatewayPlan {
            program: &workspace.program(profile, "gateway-svc")?,
            service: "bind",
            listen: SocketAddr::new(host, ports.gateway),
            shards: 2,
        };
        let gateway = Gateway::start(crew, &nats, &plan)?;
        members.push(gateway.member);
        let shown = shown_address(host);
        let gateway_url = format!("ws://{}", SocketAddr::new(shown, gateway.addr.port()));

        let mut app = quiet_command(&workspace.program(profile, "gatebus-bind")?);
        app.env("NATS_URL", &nats.url)
            .env(
                "GATEBUS_BIND_PAGE",
                SocketAddr::new(host, ports.page).to_string(),
            )
            .env("GATEBUS_BIND_GATEWAY", &gateway_url);
        let app = crew.start("back end", app)?;
        members.push(app);
        crew.wait_for_line(app, "page on http://", READY)
            .context("the back end does not start")?;

        let mut bind = Self {
            rust: format!("http://{}", SocketAddr::new(shown, ports.page)),
            php: None,
            nats,
            gateway_url,
            members,
        };
        if let Some(php) = php {
            bind.start_php(crew, workspace, profile, php, host)?;
        }
        Ok(bind)
    }

    fn start_php(
        &mut self,
        crew: &Crew,
        workspace: &Workspace,
        profile: Profile,
        php: &Path,
        host: IpAddr,
    ) -> Result<()> {
        // The API's token, and what the back end keeps.
        let folder = workspace.tools().join("bind");
        fs::create_dir_all(&folder)?;
        let tokens = folder.join("tokens");
        fs::write(&tokens, fs::read("/proc/sys/kernel/random/uuid")?)?;
        let mut api = quiet_command(&workspace.program(profile, "api-svc")?);
        api.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args([
                "--nats",
                &self.nats.url,
                "--drain-delay",
                "0s",
                "--tokens-file",
            ])
            .arg(&tokens);
        let api = crew.start("api", api)?;
        self.members.push(api);
        let line = crew.wait_for_line(api, "listening on http://", READY)?;
        let url = line
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned();
        crew.wait_for_line(api, "ready", READY)?;

        let port = choose_port(host, None, 8081, "")?;
        let mut app = quiet_command(php);
        app.args(["-S", &SocketAddr::new(host, port).to_string(), "bind.php"])
            .current_dir(workspace.root().join("examples/bind"))
            .env("GATEBUS_BIND_API", url)
            .env("GATEBUS_BIND_TOKEN_FILE", &tokens)
            .env("GATEBUS_BIND_GATEWAY", &self.gateway_url)
            .env("TMPDIR", &folder);
        let app = crew.start("php", app)?;
        self.members.push(app);
        crew.wait_for_line(app, "started", READY)
            .context("the back end in PHP does not start")?;
        let shown = shown_address(host);
        self.php = Some(format!("http://{}", SocketAddr::new(shown, port)));
        Ok(())
    }

    pub(crate) fn tell(&self) {
        println!();
        println!(
            "  Open {}  in two tabs, log in, and take an order on.",
            self.rust
        );
        match &self.php {
            Some(php) => println!("  Open {php}  for the same with a back end in PHP."),
            None => println!("  With php in PATH there is a back end in PHP too."),
        }
        println!();
        println!("  gateway  {}, two shards", self.gateway_url);
        println!("  NATS     {}", self.nats.url);
        println!();
        println!("  Ctrl-C stops all of it.");
    }
}
