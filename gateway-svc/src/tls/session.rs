//! A client's TLS session: records in and out, and no buffer while nothing is under way.
//!
//! It is rustls's own state machine, which leaves all buffers to its caller: ciphertext is decrypted
//! where the socket's bytes were read, into where they are to be decoded. What is kept is the
//! beginning of a record whose rest is still to come, and the record that the socket did not take.

use std::{io, mem, sync::Arc};

use bytes::{Buf, BytesMut};
use rustls::{
    Error, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic},
};

/// How much of what is not complete is kept. A record has at most 16 KiB and some, but what belongs
/// to a handshake may be spread over several.
const MOST_INCOMING: usize = 64 * 1024;
/// Bytes of a full record, which is what is encrypted at once; and what encryption adds to one,
/// generously.
const RECORD: usize = 16 * 1024;
const RECORD_OVERHEAD: usize = 128;

/// One side of TLS, between a socket's bytes and a client's.
pub(crate) struct Session {
    rustls: UnbufferedServerConnection,
    /// The beginning of a record whose rest has not come; rustls may have decrypted some of it.
    incoming: Vec<u8>,
    /// Decrypted, beyond what was asked for.
    plain: BytesMut,
    /// Encrypted, and not yet sent.
    outgoing: BytesMut,
    /// The client has said that it ends.
    ended: bool,
    said_goodbye: bool,
    /// The client broke TLS. rustls is not asked again, beyond the alert that says so.
    failed: bool,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            rustls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plain: BytesMut::new(),
            outgoing: BytesMut::new(),
            ended: false,
            said_goodbye: false,
            failed: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.rustls.is_handshaking()
    }

    /// Whether the client has said that it ends, and everything was taken that it sent before.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended && self.plain.is_empty()
    }

    /// Whether nothing more can be read.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// How many bytes stand before what is read next: see [`receive`](Self::receive).
    pub(crate) const fn kept(&self) -> usize {
        self.incoming.len()
    }

    /// Takes in what was read from the socket: all but the first [`kept`](Self::kept) bytes, which
    /// are room for what was not complete the last time. Decrypts it to `out`, and says how much that
    /// is; what has no room there is for [`take`](Self::take).
    ///
    /// After an error the session [has failed](Self::has_failed), and is good for nothing but to send
    /// its alert. It is returned only if nothing was decrypted before it.
    pub(crate) fn receive(&mut self, bytes: &mut [u8], out: &mut [u8]) -> Result<usize, Error> {
        bytes[..self.incoming.len()].copy_from_slice(&self.incoming);
        let mut filled = 0;
        let advanced = self.advance(
            bytes,
            |payload, plain| {
                let fits = payload.len().min(out.len() - filled);
                out[filled..filled + fits].copy_from_slice(&payload[..fits]);
                filled += fits;
                plain.extend_from_slice(&payload[fits..]);
            },
            |_, _| {},
        );
        let done = match advanced {
            Ok(done) => done,
            // what was said before still counts
            Err(_) if filled > 0 || !self.plain.is_empty() => return Ok(filled),
            Err(e) => return Err(e),
        };
        let rest = if self.ended { &[] } else { &bytes[done..] };
        if rest.len() > MOST_INCOMING {
            return Err(Error::General("too long a message of TLS itself".into()));
        }
        self.keep(rest);
        Ok(filled)
    }

    /// Moves decrypted bytes to `buf`; says how many.
    pub(crate) fn take(&mut self, buf: &mut [u8]) -> usize {
        let most = buf.len().min(self.plain.len());
        if most > 0 {
            self.plain.copy_to_slice(&mut buf[..most]);
            if self.plain.is_empty() {
                self.plain = BytesMut::new();
            }
        }
        most
    }

    /// Encrypts as much as one record holds; says how many bytes that were.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(RECORD)];
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut outcome = Ok(());
        self.speak(|mut writer, outgoing| {
            outcome = append(outgoing, sealed(bytes.len()), |room| {
                writer.encrypt(bytes, room)
            });
        })?;
        outcome.map(|()| bytes.len())
    }

    /// Adds TLS's goodbye to what is to be sent, once.
    pub(crate) fn say_goodbye(&mut self) {
        if self.failed || mem::replace(&mut self.said_goodbye, true) {
            return;
        }
        let _ = self.speak(|mut writer, outgoing| {
            let _ = append(outgoing, sealed(0), |room| writer.queue_close_notify(room));
        });
    }

    /// What is to be sent next.
    pub(crate) fn outgoing(&self) -> Option<&[u8]> {
        (!self.outgoing.is_empty()).then_some(&self.outgoing)
    }

    /// So much of it was sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.outgoing.advance(n);
        if self.outgoing.is_empty() {
            self.outgoing = BytesMut::new();
        }
    }

    /// Lets `say` write, if the session is in a state to.
    fn speak(
        &mut self,
        say: impl FnMut(WriteTraffic<'_, ServerConnectionData>, &mut BytesMut),
    ) -> io::Result<()> {
        // rustls wants to see what it has not let go of; nothing of it is complete
        let mut all = mem::take(&mut self.incoming);
        let done = self
            .advance(&mut all, |bytes, plain| plain.extend_from_slice(bytes), say)
            .map_err(io::Error::other)?;
        self.keep(&all[done..]);
        Ok(())
    }

    fn keep(&mut self, rest: &[u8]) {
        self.incoming.clear();
        if rest.is_empty() {
            self.incoming = Vec::new();
        } else {
            self.incoming.extend_from_slice(rest);
        }
    }

    /// Goes through these bytes as far as rustls can, gives `hear` what it decrypts, then lets `say`
    /// write. Says how many bytes are done with.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        mut hear: impl FnMut(&[u8], &mut BytesMut),
        mut say: impl FnMut(WriteTraffic<'_, ServerConnectionData>, &mut BytesMut),
    ) -> Result<usize, Error> {
        let mut done = 0;
        while !self.failed {
            let status = self.rustls.process_tls_records(&mut bytes[done..]);
            done += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.inspect_err(|_| self.failed = true)?;
                        hear(record.payload, &mut self.plain);
                        done += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::WriteTraffic(writer)) => {
                    say(writer, &mut self.outgoing);
                    return Ok(done);
                }
                Ok(_) => return Ok(done),
                Err(e) => {
                    self.failed = true;
                    let status = self.rustls.process_tls_records(&mut bytes[done..]);
                    if let Ok(ConnectionState::EncodeTlsData(alert)) = status.state {
                        encode(alert, &mut self.outgoing);
                    }
                    return Err(e);
                }
            }
        }
        Err(Error::General("the session has failed".into()))
    }
}

/// What so many bytes become when they are encrypted, at the most.
const fn sealed(bytes: usize) -> usize {
    bytes + (bytes / RECORD + 1) * RECORD_OVERHEAD
}

/// A message of TLS itself, as it is to be sent.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut BytesMut) {
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        let begin = outgoing.len();
        outgoing.resize(begin + size.required_size, 0);
        let written = data.encode(&mut outgoing[begin..]).unwrap_or(0);
        outgoing.truncate(begin + written);
    }
}

/// Appends what `write` makes; where it wants more room than we thought, it gets it.
fn append(
    outgoing: &mut BytesMut,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    let begin = outgoing.len();
    loop {
        outgoing.resize(begin + room, 0);
        match write(&mut outgoing[begin..]) {
            Ok(written) => {
                outgoing.truncate(begin + written);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(e) => {
                outgoing.truncate(begin);
                return Err(io::Error::other(e));
            }
        }
    }
}

#[cfg(test)]
mod tests;
