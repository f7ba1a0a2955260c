//! The physical limit: one thread, one epoll, raw sockets, no bus, no framework.
//!
//! It answers as much of the text protocol as a comparison needs (`e:`, `j:`, `g:`) and nothing else.
//! It relies on the mask key being zero, so it costs what the sockets cost and little more.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, RawFd},
};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{MsgFlags, send},
};

use crate::client::ACCEPT;

#[derive(Args)]
pub(crate) struct Limit {
    /// Address to listen on; with port 0 any free one is taken and printed
    #[arg(long, default_value = "127.0.0.1:8484")]
    listen: SocketAddr,
}

impl Limit {
    /// Serves until the process ends.
    pub(crate) fn serve(&self) -> Result<()> {
        let listener = TcpListener::bind(self.listen)
            .with_context(|| format!("listening on {}", self.listen))?;
        listener.set_nonblocking(true)?;
        println!("listening on {}", listener.local_addr()?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watch(&epoll, &listener)?;
        let mut rooms = Rooms {
            groups: HashMap::new(),
            peers: HashMap::new(),
        };
        let mut events = vec![EpollEvent::empty(); 1024];
        let mut chunk = vec![0; 65536];
        loop {
            let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                let fd = event.data() as RawFd;
                if fd != listener.as_raw_fd() {
                    rooms.ready(fd, &mut chunk);
                    continue;
                }
                while let Ok((io, _)) = listener.accept() {
                    io.set_nonblocking(true)?;
                    io.set_nodelay(true)?;
                    watch(&epoll, &io)?;
                    rooms.peers.insert(
                        io.as_raw_fd(),
                        Peer {
                            io,
                            buf: Vec::new(),
                            open: false,
                        },
                    );
                }
            }
        }
    }
}

fn watch(epoll: &Epoll, socket: &(impl AsRawFd + std::os::fd::AsFd)) -> Result<()> {
    Ok(epoll.add(
        socket,
        EpollEvent::new(EpollFlags::EPOLLIN, socket.as_raw_fd() as u64),
    )?)
}

struct Peer {
    io: TcpStream,
    buf: Vec<u8>,
    open: bool,
}

struct Rooms {
    groups: HashMap<Vec<u8>, Vec<RawFd>>,
    peers: HashMap<RawFd, Peer>,
}

impl Rooms {
    /// Reads what a peer sent and answers it.
    fn ready(&mut self, fd: RawFd, chunk: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(&fd) else {
            return;
        };
        match peer.io.read(chunk) {
            Ok(read) if read > 0 => peer.buf.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => return self.forget(fd),
        }
        if !peer.open && !peer.shake_hands() {
            return;
        }
        if self.answer(fd).is_none() {
            self.forget(fd);
        }
    }

    fn forget(&mut self, fd: RawFd) {
        self.peers.remove(&fd);
        for members in self.groups.values_mut() {
            members.retain(|member| *member != fd);
        }
    }

    /// Answers every whole frame; nothing if the peer closes or cannot be written to.
    fn answer(&mut self, fd: RawFd) -> Option<()> {
        let peer = self.peers.get_mut(&fd)?;
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some((opcode, head, len)) = parse(&peer.buf[at..]) {
            let body = &peer.buf[at + head..at + head + len];
            at += head + len;
            if opcode == 8 {
                return None;
            }
            match body {
                [b'e', b':', payload @ ..] => put(&mut own, payload),
                [b'j', b':', group @ ..] => {
                    self.groups.entry(group.to_vec()).or_default().push(fd);
                    put(&mut own, b"ok");
                }
                [b'g', b':', rest @ ..] => {
                    let colon = rest.iter().position(|byte| *byte == b':')?;
                    let mut frame = Vec::new();
                    put(&mut frame, &rest[colon + 1..]);
                    shared.push((rest[..colon].to_vec(), frame));
                }
                _ => {}
            }
        }
        peer.buf.drain(..at);
        if !own.is_empty() {
            peer.io.write_all(&own).ok()?;
        }
        for (group, frame) in shared {
            for member in self.groups.get(&group).into_iter().flatten() {
                // A member that cannot take it now loses it; the load generator reports that.
                let _ = send(
                    *member,
                    &frame,
                    MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
                );
            }
        }
        Some(())
    }
}

impl Peer {
    fn shake_hands(&mut self) -> bool {
        let Some(end) = self.buf.windows(4).position(|part| part == b"\r\n\r\n") else {
            return false;
        };
        self.buf.drain(..end + 4);
        self.open = true;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        self.io.write_all(answer.as_bytes()).is_ok()
    }
}

/// The first whole frame from a client: opcode, length of its head, length of its payload.
fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, len) = match second & 127 {
        126 => (
            8,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        // The load generator sends nothing as long as this.
        127 => return None,
        len => (6, usize::from(len)),
    };
    (bytes.len() >= head + len).then_some((first & 15, head, len))
}

fn put(out: &mut Vec<u8>, body: &[u8]) {
    out.push(0x81);
    if body.len() < 126 {
        out.push(body.len() as u8);
    } else {
        out.push(126);
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(body);
}
