//! A NATS server, workers and a gateway that run together, as the demo, the browser test and the benchmark need them.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process::{Crew, Member};

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// A NATS server that is ready.
pub(crate) struct Nats {
    pub(crate) member: Member,
    pub(crate) url: String,
}

/// A gateway that is ready.
pub(crate) struct Gateway {
    pub(crate) member: Member,
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    /// `http://…` of the admin port.
    pub(crate) admin: String,
}

/// How to run a gateway.
pub(crate) struct GatewayPlan<'a> {
    pub(crate) program: &'a Path,
    pub(crate) service: &'a str,
    /// Where to listen; with port 0 any free one is taken.
    pub(crate) listen: SocketAddr,
    pub(crate) shards: usize,
}

impl Nats {
    /// Starts a NATS server on this port (0: a free one) of the loopback address.
    pub(crate) fn start(crew: &Crew, program: &Path, port: u16) -> Result<Self> {
        let mut command = quiet_command(program);
        // nats-server takes -1 for any free port.
        let port = if port == 0 {
            "-1".to_owned()
        } else {
            port.to_string()
        };
        command.args(["--addr", "127.0.0.1", "--port", &port]);
        let member = crew.start("nats", command)?;
        let line = crew.wait_for_line(member, "Listening for client connections on", READY)?;
        let addr = line.rsplit(' ').next().unwrap_or_default();
        crew.wait_for_line(member, "Server is ready", READY)?;
        Ok(Self {
            member,
            url: format!("nats://{addr}"),
        })
    }
}

impl Gateway {
    pub(crate) fn start(crew: &Crew, nats: &Nats, plan: &GatewayPlan<'_>) -> Result<Self> {
        let mut command = quiet_command(plan.program);
        command
            .args([
                "--listen",
                &format!("websocket://{}?service={}", plan.listen, plan.service),
            ])
            .args([
                "--nats",
                &nats.url,
                "--shards",
                &plan.shards.to_string(),
                "--admin",
                "127.0.0.1:0",
            ])
            // Whoever pressed Ctrl-C does not wait for a load balancer to notice.
            .args([
                "--drain-delay",
                "0s",
                "--drain-spread",
                "200ms",
                "--drain-deadline",
                "5s",
            ]);
        let member = crew.start("gateway", command)?;
        let listening = crew.wait_for_line(member, "listening on websocket://", READY)?;
        let addr = word_after(&listening, "websocket://").parse();
        let addr =
            addr.with_context(|| format!("reading the gateway's address from `{listening}`"))?;
        let admin = crew.wait_for_line(member, "admin on http://", READY)?;
        let admin = format!("http://{}", word_after(&admin, "http://"));
        crew.wait_for_line(member, "ready", READY)?;
        Ok(Self {
            member,
            addr,
            admin,
        })
    }
}

/// Starts a worker; it takes events as soon as it is on the bus.
pub(crate) fn start_worker(crew: &Crew, nats: &Nats, name: &str, program: &Path) -> Result<Member> {
    let mut command = quiet_command(program);
    command.env("NATS_URL", &nats.url);
    crew.start(name, command)
}

/// A port for a listener: the one that was asked for, or the usual one if it is free, or any.
pub(crate) fn choose_port(
    host: IpAddr,
    asked: Option<u16>,
    usual: u16,
    option: &str,
) -> Result<u16> {
    match asked {
        Some(port) => match TcpListener::bind((host, port)) {
            Ok(listener) => Ok(listener.local_addr()?.port()),
            Err(error) => {
                bail!("port {port} cannot be used ({error}); choose another one with {option}")
            }
        },
        None => {
            // Without SO_REUSEPORT, so that another gateway on this port is noticed.
            let listener =
                TcpListener::bind((host, usual)).or_else(|_| TcpListener::bind((host, 0)))?;
            Ok(listener.local_addr()?.port())
        }
    }
}

/// The loopback address with any free port.
pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A program that takes nothing from this shell's settings but how much to log, and logs without colours.
pub(crate) fn quiet_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("NO_COLOR", "1");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if (text.starts_with("GATEBUS_") || text.starts_with("NATS_"))
            && !text.starts_with("GATEBUS_LOG")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// What follows `mark` up to the next thing that is not part of an address.
fn word_after<'a>(line: &'a str, mark: &str) -> &'a str {
    let rest = line.split_once(mark).map_or("", |(_, rest)| rest);
    let end = rest
        .find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))
        .unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_line_of_a_log() {
        let line = "INFO listening on websocket://127.0.0.1:7272 service=chat";
        assert_eq!(word_after(line, "websocket://"), "127.0.0.1:7272");
        assert_eq!(
            word_after("admin on http://[::1]:7280\u{1b}[0m", "http://"),
            "[::1]:7280"
        );
        assert_eq!(word_after("nothing", "http://"), "");
    }

    #[test]
    fn a_taken_port_is_named_with_the_option_that_changes_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, port) = (
            taken.local_addr().unwrap().ip(),
            taken.local_addr().unwrap().port(),
        );
        let error = choose_port(host, Some(port), 1, "--page-port")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--page-port"),
            "{error}"
        );
        assert_ne!(choose_port(host, None, port, "--page-port").unwrap(), port);
    }
}
