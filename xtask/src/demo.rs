//! An example, with everything it needs, until Ctrl-C: the chat, if no other is named.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{
    bind::{self, Bind},
    process::{Crew, Ended, Member},
    stack::{Gateway, GatewayPlan, Nats, choose_port, quiet_command, start_worker},
    tools,
    workspace::{Profile, Workspace},
};

/// The packages that the demo runs.
const PACKAGES: [&str; 2] = ["gateway-svc", "gatebus-chat"];

#[derive(Args)]
pub(crate) struct Demo {
    /// Which example to run
    #[arg(long, value_enum, default_value_t = Example::Chat)]
    example: Example,
    /// Address that the page and the gateway listen on; 0.0.0.0 lets a phone in the same network take part
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of the page [default: 8080, or any free one]
    #[arg(long)]
    page_port: Option<u16>,
    /// Port of the gateway [default: 7272, or any free one]
    #[arg(long)]
    gateway_port: Option<u16>,
    /// Port of NATS [default: 4222, or any free one]
    #[arg(long)]
    nats_port: Option<u16>,
    /// Show what the processes write
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Example {
    /// Log in with a name and a room, and talk
    Chat,
    /// A back end of its own reaches its users' pages, in Rust and in PHP
    Bind,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<()> {
        let workspace = Workspace::find()?;
        let nats_server = tools::nats_server(&workspace)?;
        eprintln!("building gateway and example; the first time takes some minutes");
        let packages = match self.example {
            Example::Chat => &PACKAGES[..],
            Example::Bind => &bind::PACKAGES,
        };
        workspace.build(Profile::Release, packages)?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = Ports {
            page: choose_port(self.host, self.page_port, 8080, "--page-port")?,
            gateway: choose_port(self.host, self.gateway_port, 7272, "--gateway-port")?,
            nats: choose_port(loopback, self.nats_port, 4222, "--nats-port")?,
        };
        let crew = Crew::new(self.verbose)?;
        let outcome = match self.example {
            Example::Chat => Chat::start(
                &crew,
                &workspace,
                Profile::Release,
                &nats_server,
                self.host,
                &ports,
            )
            .map(|chat| {
                chat.tell();
                crew.watch(&chat.members)
            }),
            Example::Bind => {
                let php = tools::php();
                let programs = (nats_server.as_path(), php.as_deref());
                Bind::start(
                    &crew,
                    &workspace,
                    Profile::Release,
                    programs,
                    self.host,
                    &ports,
                )
                .map(|bind| {
                    bind.tell();
                    crew.watch(&bind.members)
                })
            }
        };
        eprintln!("\nstopping");
        crew.stop_all();
        match outcome {
            Ok(Ended::Lost(error)) => Err(error),
            Err(error) if !crew.was_asked_to_stop() => Err(error),
            Ok(Ended::Asked) | Err(_) => Ok(()),
        }
    }
}

/// Where the demo's listeners are; 0 is any free port.
#[derive(Default)]
pub(crate) struct Ports {
    pub(crate) page: u16,
    pub(crate) gateway: u16,
    pub(crate) nats: u16,
}

/// A chat that runs.
pub(crate) struct Chat {
    pub(crate) nats: Nats,
    gateway: Gateway,
    pub(crate) page: String,
    gateway_url: String,
    /// Everybody who has to stay.
    pub(crate) members: Vec<Member>,
}

impl Chat {
    /// Starts NATS, two workers, a gateway with two shards and the page.
    pub(crate) fn start(
        crew: &Crew,
        workspace: &Workspace,
        profile: Profile,
        nats_server: &Path,
        host: IpAddr,
        ports: &Ports,
    ) -> Result<Self> {
        let chat = workspace.program(profile, "gatebus-chat")?;
        let nats = Nats::start(crew, nats_server, ports.nats)?;
        let mut members = vec![nats.member];
        for name in ["worker 1", "worker 2"] {
            members.push(start_worker(crew, &nats, name, &chat)?);
        }
        let plan = GatewayPlan {
            program: &workspace.program(profile, "gateway-svc")?,
            service: "chat",
            listen: SocketAddr::new(host, ports.gateway),
            shards: 2,
        };
        let gateway = Gateway::start(crew, &nats, &plan)?;
        members.push(gateway.member);

        let shown = shown_address(host);
        let mut page = quiet_command(&chat);
        page.env(
            "GATEBUS_CHAT_PAGE",
            SocketAddr::new(host, ports.page).to_string(),
        );
        let gateway_url = format!("ws://{}", SocketAddr::new(shown, gateway.addr.port()));
        page.env("GATEBUS_CHAT_GATEWAY", &gateway_url);
        let member = crew.start("page", page)?;
        members.push(member);
        crew.wait_for_line(member, "http://", Duration::from_secs(10))
            .context("the page does not start")?;
        Ok(Self {
            nats,
            gateway,
            gateway_url,
            page: format!("http://{}", SocketAddr::new(shown, ports.page)),
            members,
        })
    }

    fn tell(&self) {
        println!();
        println!("  Open {}  in two tabs and chat.", self.page);
        println!();
        println!("  gateway  {}, two shards", self.gateway_url);
        println!("  metrics  {}/metrics", self.gateway.admin);
        println!("  NATS     {}", self.nats.url);
        println!();
        println!("  Ctrl-C stops all of it.");
    }
}

/// The address by which browsers reach what listens on `host`.
pub(crate) fn shown_address(host: IpAddr) -> IpAddr {
    if host.is_unspecified() {
        own_address().unwrap_or(host)
    } else {
        host
    }
}

/// This machine's address in the network it reaches others by.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // Nothing is sent: connecting a datagram socket only chooses the route. The address is reserved for documents.
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
