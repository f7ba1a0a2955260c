//! `gateway-svc smoke`: visits a gateway as a client does, and says what it saw.
//!
//! It needs to know nothing of the application: the gateway itself answers a WebSocket ping. What a
//! worker answers is looked at only where a message for it is given.

mod visit;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use rustls::ClientConfig;
use url::Url;

use self::visit::{Answer, Host, Talk, Visit};
use crate::{
    config::{parse_or_exit, program_name, time},
    tls::ClientTls,
};

/// The first argument that makes the gateway's program this one.
pub(crate) const NAME: &str = "smoke";

/// Visits a gateway as a WebSocket client does, and says in one line what it saw and how long each step took.
///
/// It connects, shakes hands, and sends a WebSocket ping, which the gateway answers by itself: no worker is needed.
/// With --send it also sends a text message, which a worker must answer.
/// Exit status: 0; 1 and the step that failed on stderr (resolve, connect, TLS, handshake, ping, echo, close); 2 for a bad option.
#[derive(Debug, Parser)]
#[command(name = "smoke", version)]
struct Smoke {
    /// Where the gateway is: ws://host:port/path, or wss:// for TLS
    #[arg(long, value_name = "URL", value_parser = address)]
    url: Address,

    /// Sends this text message; a worker must answer it
    #[arg(long, value_name = "TEXT")]
    send: Option<String>,

    /// What the answer must be; other messages that come before it are passed over [default: any message is an answer]
    #[arg(long, value_name = "TEXT", requires = "send")]
    expect: Option<String>,

    /// How long all of it may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,

    /// PEM file with the authority that signed the gateway's certificate [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A gateway's address.
#[derive(Debug, Clone)]
struct Address {
    url: Url,
    tls: bool,
}

impl Address {
    /// Without the query, in which there may be a token.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }
}

fn address(text: &str) -> Result<Address, String> {
    let wrong = "a URL such as ws://host:7272/ or wss://host/path is needed";
    let url = Url::parse(text).map_err(|_| wrong)?;
    let tls = match url.scheme() {
        "ws" => false,
        "wss" => true,
        _ => return Err(wrong.into()),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong.into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user or password is of no use to a gateway; leave it out".into());
    }
    if url.fragment().is_some() {
        return Err("what follows a # never reaches a gateway; leave it out".into());
    }
    Ok(Address { url, tls })
}

impl Smoke {
    fn tls(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        match (&self.ca, self.url.tls) {
            (Some(_), false) => return Err("--ca is of use with wss:// only".into()),
            (None, false) => return Ok(None),
            (_, true) => {}
        }
        let files = ClientTls {
            ca: self.ca.clone(),
            own: None,
        };
        let mut config = files.config().map_err(|e| format!("--ca: {e}"))?;
        // a proxy would choose HTTP/2, on which the handshake is another one
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

/// Runs the command; the exit status is 0, 1 if a step failed, 2 for a bad option.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let options: Smoke = parse_or_exit(NAME, args);
    let tls = match options.tls() {
        Ok(tls) => tls,
        Err(e) => {
            eprintln!("{} {NAME}: {e}", program_name());
            return ExitCode::from(2);
        }
    };
    match visit(&options, tls) {
        Ok(saw) => {
            println!("{saw}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{} {NAME}: {e}", program_name());
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn visit(options: &Smoke, tls: Option<Arc<ClientConfig>>) -> Result<String, String> {
    let Address { url, .. } = &options.url;
    let shown = options.url.shown();
    let mut visit = Visit::default();
    let host = Host {
        url,
        tls,
        ca_is_given: options.ca.is_some(),
    };
    let talk = options.send.as_deref().map(|send| Talk {
        send,
        expect: options.expect.as_deref(),
    });
    let whole = visit.whole(&host, talk.as_ref());
    let outcome = tokio::time::timeout(options.timeout, whole).await;
    match outcome {
        Ok(Ok(answer)) => Ok(saw(&shown, &visit, answer)),
        Ok(Err(why)) => Err(format!("{shown}: {}", visit.failed(&why))),
        Err(_) => {
            let why = format!(
                "not done after {}",
                humantime::format_duration(options.timeout)
            );
            Err(format!("{shown}: {}", visit.failed(&why)))
        }
    }
}

fn saw(url: &str, visit: &Visit, answer: Option<Answer>) -> String {
    let steps = visit.steps();
    match answer {
        Some(answer) => format!("{url} is well: {steps}; it answered {answer}"),
        None => format!("{url} is well: {steps}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_websocket_url_and_its_query_is_not_shown() {
        let shown = |text| address(text).map(|a| (a.tls, a.shown()));
        assert_eq!(
            shown("ws://host:7272/chat?token=s3cret"),
            Ok((false, "ws://host:7272/chat".into()))
        );
        assert_eq!(shown("wss://[::1]"), Ok((true, "wss://[::1]/".into())));
        for wrong in [
            "host:7272",
            "http://host/",
            "ws://",
            "ws://me:s3cret@host/",
            "ws://host/#x",
        ] {
            let said = shown(wrong).expect_err(wrong);
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
