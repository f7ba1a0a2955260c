//! `gateway-svc healthcheck`: asks the gateway's admin port, for images in which there is no curl.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use crate::config::{parse_or_exit, program_name, time};

/// The first argument that makes the gateway's program this one.
pub(crate) const NAME: &str = "healthcheck";
/// An answer has some dozens of bytes.
const MOST_ANSWER: usize = 64 * 1024;

/// Asks the gateway's admin port whether it is ready, and prints what it says.
///
/// It finds the gateway of the same container by the same option or variable; where that listens on all addresses, by the loopback address.
/// Exit status: 0; 1 if it is not ready or does not answer; 2 for a bad option.
#[derive(Debug, Parser)]
#[command(name = "healthcheck", version)]
struct Healthcheck {
    /// The gateway's own --admin
    #[arg(
        long,
        env = "GATEBUS_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7280"
    )]
    admin: SocketAddr,

    /// Asks whether it is alive, which does not depend on NATS: for who restarts what is not well
    #[arg(long)]
    live: bool,

    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    timeout: Duration,
}

/// Runs the command; the exit status is 0, 1 if the gateway is not well, 2 for a bad option.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let options: Healthcheck = parse_or_exit(NAME, args);
    let path = if options.live { "/livez" } else { "/readyz" };
    let address = reachable(options.admin);
    match get(address, path, options.timeout) {
        Ok((200, says)) => {
            println!("{says}");
            ExitCode::SUCCESS
        }
        Ok((_, says)) => complain(&says),
        Err(e) => complain(&format!("http://{address}{path}: {e}")),
    }
}

fn complain(why: &str) -> ExitCode {
    eprintln!("{} {NAME}: {why}", program_name());
    ExitCode::FAILURE
}

/// Where to connect to reach somebody who listens there.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// The status and the first line of the body.
fn get(address: SocketAddr, path: &str, limit: Duration) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + limit;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(e) => return Err(e),
        }
        if answer.len() > MOST_ANSWER {
            break;
        }
    }
    parse(&answer).ok_or_else(|| io::Error::other("that is no HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else {
        return None;
    };
    let status = head.code?;
    let body = String::from_utf8_lossy(&answer[length..]);
    let says = body.lines().next().unwrap_or_default();
    Some((status, says.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_by_loopback() {
        let reached = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:7280"), "127.0.0.1:7280");
        assert_eq!(reached("[::]:7280"), "[::1]:7280");
        assert_eq!(reached("10.0.0.1:7280"), "10.0.0.1:7280");
    }

    #[test]
    fn an_answer_is_its_status_and_the_first_line_of_its_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 26\r\n\r\nnot ready: NATS is away\n";
        assert_eq!(parse(answer), Some((503, "not ready: NATS is away".into())));
        assert_eq!(parse(b"HTTP/1.1 200"), None);
        assert_eq!(parse(b"-ERR 'Unknown Protocol Operation'\r\n"), None);
    }
}
