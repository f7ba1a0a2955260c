//! A WebSocket client.

use std::net::{Ipv6Addr, SocketAddr};

use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    future::join_all,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpSocket};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::{Request, Response},
        http::{HeaderName, HeaderValue},
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::{Gateway, bare::Stream, tls, within};

type Socket = WebSocketStream<Box<dyn Stream>>;

/// How a connection ended, as the client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By a close frame: its code and reason.
    Closed(u16, String),
    /// By the end of the stream, or a reset, without a close frame.
    Cut,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    response: Response,
    local: SocketAddr,
}

/// How a client is to connect.
pub struct Options {
    addr: SocketAddr,
    request: Request,
    receive_buffer: Option<u32>,
    preamble: Vec<u8>,
    tls: Option<TlsConnector>,
}

impl Client {
    /// Connects to the gateway's first listener.
    pub async fn connect(gateway: &Gateway) -> Self {
        Self::to(gateway.port(), "/").connect().await
    }

    /// Connects so many clients.
    pub async fn connect_many(gateway: &Gateway, many: usize) -> Vec<Self> {
        let mut clients = Vec::with_capacity(many);
        // In portions, so that no listen queue overflows.
        while clients.len() < many {
            let portion = (many - clients.len()).min(50);
            clients.extend(join_all((0..portion).map(|_| Self::connect(gateway))).await);
        }
        clients
    }

    /// Connects with a handshake of its own.
    ///
    /// # Panics
    /// When the path is not one.
    #[must_use]
    pub fn to(port: u16, path: &str) -> Options {
        let url = format!("ws://127.0.0.1:{port}{path}");
        Options {
            addr: ([127, 0, 0, 1], port).into(),
            request: url.into_client_request().expect("a path"),
            receive_buffer: None,
            preamble: Vec::new(),
            tls: None,
        }
    }

    /// The answer to the handshake.
    #[must_use]
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// The address from which it connected.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.local
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the connection does not take it.
    pub async fn send(&mut self, message: impl Into<Message>) {
        let sent = within("a message to be sent", self.socket.send(message.into())).await;
        sent.expect("the connection takes messages");
    }

    /// Sends a frame as it is, whether or not that is right.
    pub async fn send_frame(&mut self, kind: Data, payload: impl Into<Bytes>, last: bool) {
        let frame = Frame::message(payload, OpCode::Data(kind), last);
        self.send(Message::Frame(frame)).await;
    }

    /// The next message of any kind but ping and pong; `Err` at the end.
    pub async fn next(&mut self) -> Result<Message, End> {
        within("a message for the client", next(&mut self.socket)).await
    }

    /// The next frame, pings and pongs too.
    ///
    /// # Panics
    /// At the end.
    pub async fn next_frame(&mut self) -> Message {
        let frame = within("a frame for the client", self.socket.next()).await;
        frame.expect("not the end").expect("no error")
    }

    /// The next message, which must be a text.
    ///
    /// # Panics
    /// When it is not, or when the connection ends.
    pub async fn text(&mut self) -> String {
        text(self.next().await)
    }

    /// The next message, which must be binary.
    ///
    /// # Panics
    /// When it is not, or when the connection ends.
    pub async fn binary(&mut self) -> Bytes {
        match self.next().await {
            Ok(Message::Binary(bytes)) => bytes,
            other => panic!("expected a binary message, got {other:?}"),
        }
    }

    /// The next message, which must be this text.
    ///
    /// # Panics
    /// When it is not, or when the connection ends.
    #[track_caller]
    pub fn expect<'a>(&'a mut self, text: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let got = self.text().await;
            assert_eq!(got, text, "at {caller}");
        }
    }

    /// Sends a text, and returns the text that comes next.
    pub async fn ask(&mut self, text: impl Into<String>) -> String {
        self.send(text.into()).await;
        self.text().await
    }

    /// What the worker knows of this client: `client`, `worker`, `uid`, `session`, …
    ///
    /// # Panics
    /// When the answer is something else.
    pub async fn who_am_i(&mut self) -> Value {
        let answer = self.ask("whoami").await;
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{answer:?} is not JSON: {e}"))
    }

    /// The client's id.
    ///
    /// # Panics
    /// When the worker does not tell it.
    pub async fn id(&mut self) -> String {
        let answer = self.who_am_i().await;
        answer["client"].as_str().expect("a client id").to_owned()
    }

    /// Reads on to the end, past whatever comes before it.
    pub async fn end(mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Reads on to the end, past whatever comes before it; it must be a close frame of this code.
    ///
    /// # Panics
    /// When the connection ends in another way.
    #[track_caller]
    pub fn expect_close(self, code: u16) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            match self.end().await {
                End::Closed(got, reason) if got == code => reason,
                other => panic!("expected close code {code}, got {other:?}, at {caller}"),
            }
        }
    }

    /// Says goodbye, and waits until the gateway has answered.
    ///
    /// # Panics
    /// When the connection does not take it.
    pub async fn close(mut self, code: u16, reason: &str) -> End {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.send(Message::Close(Some(frame))).await;
        self.end().await
    }

    /// The two directions apart, for a client that sends and reads at once.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        let (sink, stream) = self.socket.split();
        (Sender(sink), Receiver(stream))
    }
}

/// The sending half of a client.
#[derive(Debug)]
pub struct Sender(SplitSink<Socket, Message>);

impl Sender {
    /// Sends a message. Waits for as long as the gateway does not read: back-pressure is no failure.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, message: impl Into<Message>) {
        let sent = self.0.send(message.into()).await;
        sent.expect("the connection takes messages");
    }

    /// Hands a message over without pushing it out; [`flush`](Self::flush) does.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn feed(&mut self, message: impl Into<Message>) {
        let sent = self.0.feed(message.into()).await;
        sent.expect("the connection takes messages");
    }

    /// Hands a message over; an error where the connection is gone.
    pub async fn try_feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.0.feed(message.into()).await
    }

    /// Pushes out what was fed.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn flush(&mut self) {
        self.0.flush().await.expect("the connection takes messages");
    }
}

/// The receiving half of a client.
#[derive(Debug)]
pub struct Receiver(SplitStream<Socket>);

impl Receiver {
    /// The next message, which must be a text.
    ///
    /// # Panics
    /// When it is not, or when the connection ends.
    pub async fn text(&mut self) -> String {
        text(within("a text for the client", next(&mut self.0)).await)
    }

    /// Waits for the end, for as long as it takes, past whatever comes before it.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = next(&mut self.0).await {
                return end;
            }
        }
    }
}

fn text(message: Result<Message, End>) -> String {
    match message {
        Ok(Message::Text(text)) => text.to_string(),
        other => panic!("expected a text, got {other:?}"),
    }
}

async fn next<S>(stream: &mut S) -> Result<Message, End>
where
    S: StreamExt<Item = Result<Message, Error>> + Unpin,
{
    loop {
        return match stream.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(frame))) => Err(match frame {
                Some(frame) => End::Closed(frame.code.into(), frame.reason.to_string()),
                None => End::Closed(1005, String::new()),
            }),
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) | None => Err(End::Cut),
        };
    }
}

impl Options {
    /// Adds a header.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("a header's name");
        let value = HeaderValue::try_from(value).expect("a header's value");
        self.request.headers_mut().append(name, value);
        self
    }

    /// Lets the kernel keep only so much of what the client does not read.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects by IPv6.
    #[must_use]
    pub fn by_ipv6(mut self) -> Self {
        self.addr.set_ip(Ipv6Addr::LOCALHOST.into());
        self
    }

    /// Connects with TLS, if there is a connector.
    #[must_use]
    pub fn tls(mut self, connector: impl Into<Option<TlsConnector>>) -> Self {
        self.tls = connector.into();
        self
    }

    /// Sends these bytes before all else, as a proxy does.
    #[must_use]
    pub fn preamble(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.preamble = bytes.into();
        self
    }

    /// Connects.
    ///
    /// # Panics
    /// When the gateway does not take it.
    pub async fn connect(self) -> Client {
        let connected = self.try_connect().await;
        connected.unwrap_or_else(|e| panic!("the gateway does not take the client: {e}"))
    }

    /// Connects, which may fail.
    pub async fn try_connect(self) -> Result<Client, Error> {
        let connect = async {
            let socket = match self.addr {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(bytes) = self.receive_buffer {
                socket.set_recv_buffer_size(bytes)?;
            }
            let mut stream = socket.connect(self.addr).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            stream.write_all(&self.preamble).await?;
            let stream: Box<dyn Stream> = match self.tls {
                Some(connector) => Box::new(tls::secure(&connector, stream).await?),
                None => Box::new(stream),
            };
            let mut config = WebSocketConfig::default();
            // The default would take 256 KiB a client.
            config.read_buffer_size = 4096;
            config.write_buffer_size = 4096;
            let (socket, response) =
                client_async_with_config(self.request, stream, Some(config)).await?;
            Ok(Client {
                socket,
                response,
                local,
            })
        };
        within("the client to connect", connect).await
    }
}
