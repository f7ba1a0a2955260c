//! The session against rustls's own client, with nothing between them but bytes.

use std::io::{Read, Write};

use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::*;
use crate::tls::{server_config, testing::self_signed};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A session and a client of it, who have not met.
fn strangers(version: &'static SupportedProtocolVersion) -> (Session, ClientConnection) {
    let (certificate, key) = self_signed();
    let server = server_config(vec![certificate.clone()], key, &[]).expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let session = Session::new(Arc::new(server)).expect("a session");
    (session, client)
}

/// What the client has to send, to the session in pieces of that many bytes.
fn carry_in(
    session: &mut Session,
    client: &mut ClientConnection,
    piece: usize,
) -> Result<(), Error> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).expect("memory");
    }
    sent.chunks(piece).try_for_each(|p| receive(session, p))
}

/// Takes in some bytes, and leaves all that they say to `take`.
fn receive(session: &mut Session, bytes: &[u8]) -> Result<(), Error> {
    let mut room = [&vec![0; session.kept()], bytes].concat();
    session.receive(&mut room, &mut []).map(|_| ())
}

/// The same the other way; returns what the client reads.
fn carry_out(session: &mut Session, client: &mut ClientConnection, piece: usize) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 1000]);
    while let Some(waiting) = session.outgoing() {
        let mut some = &waiting[..waiting.len().min(piece)];
        let sent = client.read_tls(&mut some).expect("memory");
        client.process_new_packets().expect("no error");
        session.sent(sent);
        while let Ok(n @ 1..) = client.reader().read(&mut buf) {
            all.extend_from_slice(&buf[..n]);
        }
    }
    all
}

/// A session and its client, who have shaken hands.
fn met(version: &'static SupportedProtocolVersion, piece: usize) -> (Session, ClientConnection) {
    let (mut session, mut client) = strangers(version);
    while session.is_handshaking() || client.is_handshaking() {
        carry_in(&mut session, &mut client, piece).expect("no error");
        carry_out(&mut session, &mut client, piece);
    }
    (session, client)
}

fn taken(session: &mut Session) -> Vec<u8> {
    let (mut all, mut buf) = (Vec::new(), [0; 1000]);
    loop {
        match session.take(&mut buf) {
            0 => return all,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

fn numbers(many: u32) -> Vec<u8> {
    (0..many).flat_map(u32::to_be_bytes).collect()
}

fn keeps_nothing(session: &Session) -> bool {
    session.incoming.capacity() == 0
        && session.plain.capacity() == 0
        && session.outgoing.capacity() == 0
}

#[test]
fn bytes_arrive_whole_and_in_order_however_the_socket_cuts_them() {
    for version in VERSIONS {
        for piece in [1, 5, 7, 1000, 17_000, 100_000] {
            let (mut session, mut client) = met(version, piece);
            for many in [1, 3, 4000, 1] {
                let sent = numbers(many);
                client.writer().write_all(&sent).expect("memory");
                carry_in(&mut session, &mut client, piece).expect("no error");
                assert!(taken(&mut session) == sent, "{version:?} {piece}");
            }
            assert!(keeps_nothing(&session), "{version:?} {piece}");
        }
    }
}

#[test]
fn what_is_decrypted_goes_where_it_is_wanted_and_the_rest_waits() {
    let (mut session, mut client) = met(&version::TLS13, 100_000);
    let sent = numbers(10_000);
    client.writer().write_all(&sent).expect("memory");
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).expect("memory");
    }
    let mut out = [0; 30_000];
    let got = session.receive(&mut records, &mut out).expect("no error");
    assert_eq!(got, 30_000);
    assert!([&out[..], &taken(&mut session)].concat() == sent);
    assert!(keeps_nothing(&session));
}

#[test]
fn what_is_written_arrives_whole_and_in_order_and_waits_in_bounds() {
    for version in VERSIONS {
        let (mut session, mut client) = met(version, 100_000);
        for len in [1, 12, 16_384, 16_385, 100_000, 400_000] {
            let frames = numbers(len);
            let (mut written, mut got) = (0, Vec::new());
            loop {
                match session.encrypt(&frames[written..]).expect("no error") {
                    0 => break,
                    n => written += n,
                }
                let waits = session.outgoing().map_or(0, <[u8]>::len);
                assert!(waits <= sealed(RECORD), "{waits}");
                got.extend(carry_out(&mut session, &mut client, 1000));
            }
            assert!(got == frames, "{version:?}");
            assert!(keeps_nothing(&session));
        }
    }
}

#[test]
fn it_may_write_while_a_record_is_on_its_way() {
    for version in VERSIONS {
        let (mut session, mut client) = met(version, 100_000);
        let sent = numbers(1000);
        client.writer().write_all(&sent).expect("memory");
        let mut record = Vec::new();
        client.write_tls(&mut record).expect("memory");
        for piece in record.chunks(50) {
            receive(&mut session, piece).expect("no error");
            let answer = session.encrypt(b"answer");
            assert_eq!(answer.expect("no error"), 6);
            assert_eq!(carry_out(&mut session, &mut client, 1000), b"answer");
        }
        assert!(taken(&mut session) == sent);
    }
}

#[test]
fn each_side_ends_with_a_goodbye_after_what_it_said() {
    for version in VERSIONS {
        let (mut session, mut client) = met(version, 100_000);
        client.writer().write_all(b"the last").expect("memory");
        client.send_close_notify();
        carry_in(&mut session, &mut client, 100_000).expect("no error");
        assert!(!session.is_ended(), "not before it was heard out");
        assert_eq!(taken(&mut session), b"the last");
        assert!(session.is_ended());
        let answer = session.encrypt(b"answer");
        assert_eq!(answer.expect("half is open"), 6);
        session.say_goodbye();
        assert_eq!(carry_out(&mut session, &mut client, 1000), b"answer");
        assert_eq!(client.reader().read(&mut [0]).expect("its goodbye"), 0);
        session.say_goodbye();
        assert_eq!(session.outgoing(), None, "once");
        assert!(keeps_nothing(&session));
    }
}

#[test]
fn what_is_no_tls_is_an_error_and_the_client_is_told_by_an_alert() {
    for version in VERSIONS {
        let (mut session, mut client) = met(version, 100_000);
        let garbage = b"\x17\x03\x03\x00\x20 and this was never encrypted....";
        receive(&mut session, garbage).expect_err("no record");
        let mut alert = session.outgoing().expect("an alert");
        client.read_tls(&mut alert).expect("memory");
        let told = client.process_new_packets().expect_err("an alert");
        assert!(matches!(told, Error::AlertReceived(_)), "{told:?}");
        session.sent(session.outgoing().map_or(0, <[u8]>::len));
        session.say_goodbye();
        assert_eq!(session.outgoing(), None, "it has said all");
        session.encrypt(b"more").expect_err("no session");
        receive(&mut session, garbage).expect_err("no session");

        let (mut stranger, _) = strangers(version);
        let http = b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n";
        receive(&mut stranger, http).expect_err("no TLS");
    }
}

#[test]
fn what_was_said_before_an_error_in_the_same_read_still_counts() {
    for version in VERSIONS {
        for room in [0, 3, 100] {
            let (mut session, mut client) = met(version, 100_000);
            client.writer().write_all(b"goodbye").expect("memory");
            let mut read = Vec::new();
            client.write_tls(&mut read).expect("memory");
            read.extend(b"\x17\x03\x03\x00\x20 and this was never encrypted....");
            let mut out = vec![0; room];
            let filled = session.receive(&mut read, &mut out).expect("it said so");
            out.truncate(filled);
            out.extend(taken(&mut session));
            assert_eq!(out, b"goodbye");
            assert!(session.has_failed());
        }
    }
}

#[test]
fn what_was_said_before_an_alert_in_the_same_read_still_counts() {
    for version in VERSIONS {
        for room in [0, 3, 100] {
            let (mut session, mut client) = met(version, 100_000);
            client.writer().write_all(b"goodbye").expect("memory");
            // the client finds something wrong, and its alert goes out behind what it said
            let mut garbage = &b"\x17\x03\x03\x00\x20 and this was never encrypted...."[..];
            client.read_tls(&mut garbage).expect("memory");
            client.process_new_packets().expect_err("no record");
            let mut read = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut read).expect("memory");
            }
            let mut out = vec![0; room];
            let filled = session.receive(&mut read, &mut out).expect("it said so");
            out.truncate(filled);
            out.extend(taken(&mut session));
            assert_eq!(out, b"goodbye", "{version:?}");
            assert!(session.has_failed());
        }
    }
}

#[test]
fn whatever_follows_a_goodbye_takes_nothing_back() {
    for version in VERSIONS {
        for room in [0, 3, 100] {
            let (mut session, mut client) = met(version, 100_000);
            client.writer().write_all(b"goodbye").expect("memory");
            client.send_close_notify();
            let mut read = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut read).expect("memory");
            }
            read.extend(b"\x17\x03\x03\x00\x20 and this was never encrypted....");
            let mut out = vec![0; room];
            let filled = session.receive(&mut read, &mut out).expect("it said so");
            out.truncate(filled);
            out.extend(taken(&mut session));
            assert_eq!(out, b"goodbye", "{version:?}");
            assert!(session.is_ended(), "it is a goodbye all the same");
        }
    }
}

/// Proves it for the read that ends the handshake too: it may hold all that the client ever says.
#[test]
fn what_comes_with_the_end_of_the_handshake_and_before_an_alert_still_counts() {
    for version in VERSIONS {
        let (mut session, mut client) = strangers(version);
        while client.is_handshaking() {
            carry_in(&mut session, &mut client, 100_000).expect("no error");
            carry_out(&mut session, &mut client, 100_000);
        }
        client.writer().write_all(b"goodbye").expect("memory");
        let mut garbage = &b"\x17\x03\x03\x00\x20 and this was never encrypted...."[..];
        client.read_tls(&mut garbage).expect("memory");
        client.process_new_packets().expect_err("no record");
        let mut read = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut read).expect("memory");
        }
        receive(&mut session, &read).expect("it said so");
        assert!(!session.is_handshaking());
        assert_eq!(taken(&mut session), b"goodbye", "{version:?}");
        assert!(session.has_failed());
    }
}

#[test]
fn a_handshake_without_an_end_is_refused() {
    let (mut session, _) = strangers(&version::TLS13);
    // a hello of 16 MiB, in records of 1 KiB
    let first = [&b"\x16\x03\x01\x04\x00\x01\xff\xff\xff"[..], &[0; 1020]].concat();
    let next = [&b"\x16\x03\x01\x04\x00"[..], &[0; 1024]].concat();
    let mut outcome = receive(&mut session, &first);
    let mut records = 1;
    while outcome.is_ok() {
        assert!(records <= MOST_INCOMING / 1024, "it has no end");
        outcome = receive(&mut session, &next);
        records += 1;
    }
}

#[test]
fn new_keys_in_the_midst_change_nothing() {
    let (mut session, mut client) = met(&version::TLS13, 100_000);
    for _ in 0..3 {
        client.refresh_traffic_keys().expect("a session");
        client.writer().write_all(b"question").expect("memory");
        carry_in(&mut session, &mut client, 10).expect("no error");
        assert_eq!(taken(&mut session), b"question");
        session.encrypt(b"answer").expect("no error");
        assert_eq!(carry_out(&mut session, &mut client, 10), b"answer");
    }
}
