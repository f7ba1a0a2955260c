//! The header of the PROXY protocol, versions 1 and 2: what a load balancer says of a connection
//! before it passes it on (haproxy.org/download/3.2/doc/proxy-protocol.txt).
//!
//! Whoever can connect can write one, so a listener reads it only where it was asked to, and then it
//! has to be there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{io::AsyncReadExt, net::TcpStream};

/// Longest header: the two addresses of a version 2 header, and what a proxy adds to them.
const MOST: usize = 4096;
/// Longest header of version 1, its line's end included.
const MOST_LINE: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Its part that always has the same length.
const FIXED: usize = 16;

/// What is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol")]
pub(crate) struct Malformed;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Reads the header, and not a byte of what comes behind it. Says from where the proxy has the
/// connection; `None` where it does not say, as for a connection of its own.
pub(crate) async fn read(socket: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    let mut bytes = [0; MOST];
    let mut known = 0;
    loop {
        let seen = socket.peek(&mut bytes[known..]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let header = parse(&bytes[..known + seen])?;
        // without an end all of it is header
        let length = header.map_or(known + seen, |(length, _)| length);
        socket.read_exact(&mut bytes[known..length]).await?;
        if let Some((_, source)) = header {
            return Ok(source);
        }
        known = length;
    }
}

/// Where a header ends, and where the connection is from, if it says so.
type Header = (usize, Option<SocketAddr>);

/// Finds the header at the beginning; `None` while it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(b"PROXY ") {
        line(bytes)
    } else {
        Err(Malformed)
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 10.0.0.1 51234 443` and a line's end.
fn line(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let within = &bytes[..bytes.len().min(MOST_LINE)];
    let Some(end) = within.iter().position(|b| *b == b'\n') else {
        return if bytes.len() < MOST_LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next().ok_or(Malformed)?;
    if kind == "UNKNOWN" {
        return Ok(Some((end + 1, None)));
    }
    let [
        Some(source),
        Some(target),
        Some(source_port),
        Some(target_port),
        None,
    ] = std::array::from_fn(|_| words.next())
    else {
        return Err(Malformed);
    };
    let is_kind = |ip: IpAddr| match kind {
        "TCP4" => ip.is_ipv4(),
        "TCP6" => ip.is_ipv6(),
        _ => false,
    };
    let ip = |word: &str| word.parse().ok().filter(|ip| is_kind(*ip)).ok_or(Malformed);
    let (source, _) = (ip(source)?, ip(target)?);
    let (port, _) = (port(source_port)?, port(target_port)?);
    Ok(Some((end + 1, Some(SocketAddr::new(source, port)))))
}

fn port(word: &str) -> Result<u16, Malformed> {
    let is_plain = word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|_| is_plain).ok_or(Malformed)
}

/// Version 2: the signature, what it is about, how long the rest is, addresses, and extensions,
/// which are passed over.
fn binary(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + length > MOST {
        return Err(Malformed);
    }
    let of_its_own = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    let family = fixed[13];
    let needed = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ if of_its_own => 0,
        _ => return Err(Malformed),
    };
    if length < needed && !of_its_own {
        return Err(Malformed);
    }
    let Some(addresses) = rest.get(..length) else {
        return Ok(None);
    };
    let source = match (of_its_own, family) {
        (false, 0x11) => {
            let ip: [u8; 4] = addresses[..4].try_into().expect("4 bytes");
            Some((IpAddr::from(Ipv4Addr::from(ip)), &addresses[8..10]))
        }
        (false, 0x21) => {
            let ip: [u8; 16] = addresses[..16].try_into().expect("16 bytes");
            Some((IpAddr::from(Ipv6Addr::from(ip)), &addresses[32..34]))
        }
        _ => None,
    };
    let source =
        source.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])));
    Ok(Some((FIXED + length, source)))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// A header of version 2.
    fn v2(command: u8, family: u8, addresses: &[u8], extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len() + extensions.len()).expect("short");
        let fixed = [&SIGNATURE[..], &[command, family], &length.to_be_bytes()].concat();
        [&fixed, addresses, extensions].concat()
    }

    fn tcp4() -> Vec<u8> {
        let mut addresses = vec![203, 0, 113, 7, 10, 0, 0, 1];
        addresses.extend([0xc8, 0x22, 0x01, 0xbb]);
        addresses
    }

    fn tcp6() -> Vec<u8> {
        let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        let ports = [0xc8, 0x22, 0x01, 0xbb];
        [&ip("2001:db8::7")[..], &ip("::1"), &ports].concat()
    }

    /// Headers, and where they say that the connection is from.
    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MOST_LINE - 16));
        vec![
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n".to_vec(),
                Some("203.0.113.7:51234"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 51234 443\r\n".to_vec(),
                Some("[2001:db8::7]:51234"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (longest.into_bytes(), None),
            (v2(0x21, 0x11, &tcp4(), b""), Some("203.0.113.7:51234")),
            (
                v2(0x21, 0x11, &tcp4(), &[4, 0, 1, 0]),
                Some("203.0.113.7:51234"),
            ),
            (v2(0x21, 0x21, &tcp6(), b""), Some("[2001:db8::7]:51234")),
            (
                v2(0x21, 0x11, &tcp4(), &[0; MOST - FIXED - 12]),
                Some("203.0.113.7:51234"),
            ),
            // a connection of the proxy's own, whatever stands behind
            (v2(0x20, 0x00, b"", b""), None),
            (v2(0x20, 0x11, &tcp4(), b""), None),
            (v2(0x20, 0xff, b"", &[1, 2, 3]), None),
            // not of TCP over IP
            (v2(0x21, 0x00, b"", b""), None),
            (v2(0x21, 0x12, &tcp4(), b""), None),
            (v2(0x21, 0x31, &[0; 216], b""), None),
        ]
    }

    #[test]
    fn a_header_is_read_whatever_comes_behind_it_and_wherever_it_is_cut() {
        for (header, source) in good() {
            let source = source.map(|s| s.parse().expect("an address"));
            for behind in [&b""[..], b"\r\n", b"\x16\x03\x01", b"PROXY UNKNOWN\r\n"] {
                let all = [&header, behind].concat();
                assert_eq!(parse(&all), Ok(Some((header.len(), source))));
            }
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{cut} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_is_clear() {
        let too_long = format!("PROXY UNKNOWN {}", "x".repeat(MOST_LINE - 14));
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"proxy TCP4",
            b"PROXX",
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51234\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443 1\r\n",
            b"PROXY TCP4  203.0.113.7 10.0.0.1 51234 443\r\n",
            b"PROXY TCP4 ::1 ::1 51234 443\r\n",
            b"PROXY TCP6 203.0.113.7 10.0.0.1 51234 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 443\r\n",
            b"PROXY TCP4 203.0.113.7 elsewhere 1 443\r\n",
            b"PROXY UDP4 203.0.113.7 10.0.0.1 1 443\r\n",
            b"PROXY \r\n",
            b"PROXY \xff\r\n",
            too_long.as_bytes(),
            // another version, another command, another family
            &v2(0x11, 0x11, &tcp4(), b""),
            &v2(0x22, 0x11, &tcp4(), b""),
            &v2(0x21, 0x41, &tcp4(), b""),
            // too short, and too long
            &v2(0x21, 0x11, &tcp4()[..11], b""),
            &v2(0x21, 0x21, &tcp4(), b""),
            &v2(0x21, 0x11, &tcp4(), &[0; MOST - FIXED - 11]),
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn not_a_byte_behind_the_header_is_read_however_it_comes() {
        const BEHIND: &[u8] = b"\x16\x03\x01 behind";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        for (header, source) in good() {
            let all = [&header, BEHIND].concat();
            for cut in [
                1,
                5,
                6,
                11,
                12,
                13,
                15,
                16,
                17,
                header.len(),
                header.len() + 1,
            ] {
                let mut client = TcpStream::connect(addr).await.expect("it listens");
                client.set_nodelay(true).expect("a socket");
                let (mut socket, _) = listener.accept().await.expect("a visitor");
                let (first, second) = all.split_at(cut.min(all.len()));
                client.write_all(first).await.expect("sent");
                let rest = async {
                    // until the first part has come
                    tokio::task::yield_now().await;
                    client.write_all(second).await.expect("sent");
                    client.shutdown().await.expect("sent");
                };
                let (said, ()) = tokio::join!(read(&mut socket), rest);
                let said = said.expect("a header").map(|s| s.to_string());
                assert_eq!(said.as_deref(), source, "cut at {cut}");
                let mut left = Vec::new();
                socket.read_to_end(&mut left).await.expect("no error");
                assert_eq!(left, BEHIND, "cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_header_that_comes_byte_by_byte_is_read_and_one_that_ends_early_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n";
        for length in [header.len(), header.len() - 1] {
            let mut client = TcpStream::connect(addr).await.expect("it listens");
            client.set_nodelay(true).expect("a socket");
            let (mut socket, _) = listener.accept().await.expect("a visitor");
            let send = async {
                for byte in &header[..length] {
                    client.write_all(&[*byte]).await.expect("sent");
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.expect("sent");
            };
            match tokio::join!(read(&mut socket), send).0 {
                Ok(source) => assert_eq!(source, Some("203.0.113.7:51234".parse().unwrap())),
                Err(ProxyError::Io(e)) => {
                    assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
                    assert_ne!(length, header.len());
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}
