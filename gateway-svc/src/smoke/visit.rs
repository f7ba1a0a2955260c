//! A visit to a gateway, step by step, each timed.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, protocol::CloseFrame, protocol::frame::coding::CloseCode},
};
use url::Url;

use crate::link::Socket;

/// How much of a message or of a refusal is shown.
const MOST_SHOWN: usize = 100;

type WebSocket = WebSocketStream<Socket>;

/// Whom to visit.
pub(super) struct Host<'a> {
    pub(super) url: &'a Url,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) ca_is_given: bool,
}

/// What to say to a worker.
pub(super) struct Talk<'a> {
    pub(super) send: &'a str,
    /// Nothing: whatever comes is an answer.
    pub(super) expect: Option<&'a str>,
}

/// What a visitor does, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    Resolve,
    Connect,
    Tls,
    Handshake,
    Ping,
    Echo,
    Close,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Handshake => "handshake",
            Self::Ping => "ping",
            Self::Echo => "echo",
            Self::Close => "close",
        })
    }
}

/// A message, as it is shown: the beginning of a text, or how many bytes it has.
#[derive(Debug)]
pub(super) enum Answer {
    Text(String),
    Binary(usize),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => shown(text, f),
            Self::Binary(size) => write!(f, "{size} bytes"),
        }
    }
}

fn shown(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(MOST_SHOWN) {
        None => write!(f, "{text:?}"),
        Some((end, _)) => write!(f, "{:?}…", &text[..end]),
    }
}

/// How far it has come, and how long each step took.
#[derive(Debug, Default)]
pub(super) struct Visit {
    step: Step,
    done: Vec<(Step, Duration)>,
    /// Where it connected last.
    peer: Option<SocketAddr>,
    /// The last message that was not the answer.
    passed_over: Option<Answer>,
}

impl Visit {
    /// All steps; an error says why the last one that was begun failed. Whoever drops it before its
    /// end asks [`Self::failed`] for the step.
    pub(super) async fn whole(
        &mut self,
        host: &Host<'_>,
        talk: Option<&Talk<'_>>,
    ) -> Result<Option<Answer>, String> {
        let name = host.url.host_str().unwrap_or_default();
        let name = name.trim_matches(['[', ']']);
        let port = host.url.port_or_known_default().unwrap_or(80);

        let found = self.step(Step::Resolve, resolve(name, port)).await?;
        let began = self.begin(Step::Connect);
        let tcp = self.connect(found).await?;
        self.end(began);
        let mut socket = Socket::Plain(tcp);
        if let Some(tls) = &host.tls {
            let secured = secure(socket, tls.clone(), name, host.ca_is_given);
            socket = self.step(Step::Tls, secured).await?;
        }
        let mut socket = self
            .step(Step::Handshake, shake_hands(host.url, socket))
            .await?;
        self.step(Step::Ping, ping(&mut socket)).await?;
        let mut answer = None;
        if let Some(talk) = talk {
            let began = self.begin(Step::Echo);
            answer = Some(self.echo(&mut socket, talk).await?);
            self.end(began);
        }
        self.step(Step::Close, say_goodbye(&mut socket)).await?;
        Ok(answer)
    }

    fn begin(&mut self, step: Step) -> Instant {
        self.step = step;
        Instant::now()
    }

    fn end(&mut self, began: Instant) {
        self.done.push((self.step, began.elapsed()));
    }

    async fn step<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let began = self.begin(step);
        let outcome = work.await?;
        self.end(began);
        Ok(outcome)
    }

    /// One address after another, until one takes us.
    async fn connect(&mut self, addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
        let mut why = String::new();
        for address in addresses {
            self.peer = Some(address);
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
                    return Ok(tcp);
                }
                Err(e) => why = e.to_string(),
            }
        }
        Err(why)
    }

    async fn echo(&mut self, socket: &mut WebSocket, talk: &Talk<'_>) -> Result<Answer, String> {
        send(socket, Message::text(talk.send)).await?;
        loop {
            let (bytes, message) = match next(socket).await? {
                Message::Text(text) => (Bytes::from(text.clone()), Answer::Text(text.to_string())),
                Message::Binary(bytes) => (bytes.clone(), Answer::Binary(bytes.len())),
                _ => continue,
            };
            if talk.expect.is_none_or(|expect| bytes == expect.as_bytes()) {
                return Ok(message);
            }
            self.passed_over = Some(message);
        }
    }

    /// The steps that were done, with their times.
    pub(super) fn steps(&self) -> String {
        let steps = self.done.iter().map(|(step, took)| {
            let took = took.as_secs_f64() * 1000.0;
            match (step, self.peer) {
                (Step::Connect, Some(peer)) => format!("{step} to {peer} {took:.1} ms"),
                _ => format!("{step} {took:.1} ms"),
            }
        });
        steps.collect::<Vec<_>>().join(", ")
    }

    /// The step that failed, why, and what went before it.
    pub(super) fn failed(&self, why: &str) -> String {
        let mut line = match (self.step, self.peer) {
            (Step::Connect, Some(peer)) => format!("connect to {peer}: {why}"),
            (step, _) => format!("{step}: {why}"),
        };
        if let (Step::Echo, Some(message)) = (self.step, &self.passed_over) {
            line.push_str(&format!(
                "; the last message was {message}, which is not the answer"
            ));
        }
        if !self.done.is_empty() {
            line.push_str(&format!(" (after {})", self.steps()));
        }
        line
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = lookup_host((name, port)).await;
    let found: Vec<_> = found.map_err(|e| e.to_string())?.collect();
    match found.is_empty() {
        true => Err("the name has no address".into()),
        false => Ok(found),
    }
}

async fn secure(
    socket: Socket,
    tls: Arc<ClientConfig>,
    name: &str,
    ca_is_given: bool,
) -> Result<Socket, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    socket
        .secure(tls, name)
        .await
        .map_err(|e| match ca_is_given {
            true => e.to_string(),
            false => format!("{e}; --ca names an authority that this system does not know"),
        })
}

async fn shake_hands(url: &Url, socket: Socket) -> Result<WebSocket, String> {
    match Box::pin(client_async(url.as_str(), socket)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body);
            let says = body.lines().next().unwrap_or_default();
            let mut why = format!("HTTP status {}", answer.status());
            if !says.is_empty() {
                why.push_str(&format!(": {}", Answer::Text(says.to_owned())));
            }
            Err(why)
        }
        Err(e) => Err(e.to_string()),
    }
}

/// What the gateway answers by itself. Messages that come before are somebody's greeting.
async fn ping(socket: &mut WebSocket) -> Result<(), String> {
    let own = Bytes::copy_from_slice(&rand::random::<[u8; 8]>());
    send(socket, Message::Ping(own.clone())).await?;
    loop {
        match next(socket).await? {
            Message::Pong(answer) if answer == own => return Ok(()),
            _ => {}
        }
    }
}

async fn say_goodbye(socket: &mut WebSocket) -> Result<(), String> {
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    send(socket, Message::Close(Some(goodbye))).await?;
    loop {
        match socket.next().await {
            None | Some(Ok(Message::Close(_))) => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(e.to_string()),
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), String> {
    socket.send(message).await.map_err(|e| e.to_string())
}

/// The next frame; the end is an error.
async fn next(socket: &mut WebSocket) -> Result<Message, String> {
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => Err(format!(
            "closed with {}: {:?}",
            u16::from(frame.code),
            &*frame.reason
        )),
        Some(Ok(Message::Close(None))) => Err("closed without a code".into()),
        Some(Ok(message)) => Ok(message),
        Some(Err(e)) => Err(e.to_string()),
        None => Err("the connection ended".into()),
    }
}
