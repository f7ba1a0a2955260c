//! A client of the protocols that have no handshake: bytes out, bytes in.

use std::{fmt::Debug, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpSocket,
};

use crate::within;

/// Anything that bytes can go over.
pub trait Stream: AsyncRead + AsyncWrite + Debug + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Debug + Unpin + Send> Stream for T {}

/// A connected client.
pub struct Bare {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// Read, and not yet asked for.
    read: Vec<u8>,
}

impl Bare {
    /// Connects to a port of this host.
    pub async fn connect(port: u16) -> Self {
        Self::connect_to(([127, 0, 0, 1], port).into()).await
    }

    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect_to(addr: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(addr).await;
        let stream = stream.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Self::over(stream)
    }

    /// Connects, and lets the kernel keep only so much of what the client does not read.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect_narrow(port: u16, receive_buffer: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let set = socket.set_recv_buffer_size(receive_buffer);
        set.expect("a socket");
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await;
        Self::over(stream.expect("it listens"))
    }

    /// Takes over a connection.
    #[must_use]
    pub fn over(stream: impl Stream + 'static) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (reader, writer) = split(stream);
        Self {
            reader,
            writer,
            read: Vec::new(),
        }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection does not take them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.writer.write_all(bytes.as_ref()).await?;
            self.writer.flush().await
        };
        let sent = within("bytes to be sent", sent).await;
        sent.expect("the connection takes bytes");
    }

    /// Sends bytes for as long as it takes: back-pressure is no failure.
    pub async fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.writer.write_all(bytes.as_ref()).await?;
        self.writer.flush().await
    }

    /// The next so many bytes.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn bytes(&mut self, many: usize) -> Vec<u8> {
        while self.read.len() < many {
            assert!(self.pull().await, "the end, after {:?}", self.read);
        }
        self.read.drain(..many).collect()
    }

    /// The next line, without its end.
    ///
    /// # Panics
    /// When the connection ends before, or the line is not UTF-8.
    pub async fn line(&mut self) -> String {
        let mut searched = 0;
        loop {
            if let Some(end) = self.read[searched..].iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=searched + end).collect();
                line.pop();
                return String::from_utf8(line).expect("text");
            }
            searched = self.read.len();
            assert!(self.pull().await, "the end, within a line");
        }
    }

    /// The next message with its length before it.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn frame(&mut self) -> Vec<u8> {
        let head = self.bytes(4).await;
        let length = u32::from_be_bytes(head.try_into().expect("4 bytes"));
        self.bytes(length as usize - 4).await
    }

    /// Sends a line, and returns the line that comes next.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).await;
        self.line().await
    }

    /// Reads on to the end; `Ok` with what came before it where the other side has said that it
    /// ends, an error where the connection was cut.
    pub async fn end(&mut self) -> std::io::Result<Vec<u8>> {
        let read = within("the end", self.reader.read_to_end(&mut self.read)).await;
        read.map(|_| std::mem::take(&mut self.read))
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn shut_down(&mut self) {
        self.writer.shutdown().await.expect("the connection stands");
    }

    /// Reads some more; false at the end.
    async fn pull(&mut self) -> bool {
        let read = within("bytes for the client", self.reader.read_buf(&mut self.read)).await;
        read.expect("no error") > 0
    }
}

/// A message with its length before it, as `frame` has it.
///
/// # Panics
/// When it is longer than a length can say.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len() + 4).expect("a short message");
    [&length.to_be_bytes(), message].concat()
}
