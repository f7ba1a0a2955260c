//! TLS for listeners: files with a certificate, and clients that believe its authority.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

use crate::{
    identity::{Authority, Certificate},
    within,
};

/// A folder with a listener's certificate and key, and their authority.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    authority: Authority,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// A new authority, and files with a certificate of it.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let certificates = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            authority: Authority::new(),
        };
        let authority = certificates.authority.pem();
        fs::write(certificates.authority_file(), authority).expect("a temporary file");
        certificates.renew();
        certificates
    }

    /// The file with the authority that a client has to believe.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The file with the certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The file with its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// What a listener's URL says of them.
    #[must_use]
    pub fn query(&self) -> String {
        format!(
            "cert={}&key={}",
            self.cert().display(),
            self.key().display()
        )
    }

    /// Writes a new certificate in the place of the old one; returns it.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn renew(&self) -> Certificate {
        let new = self.authority.certify();
        fs::write(self.cert(), &new.certificate).expect("a temporary file");
        fs::write(self.key(), &new.key).expect("a temporary file");
        new
    }

    /// What a client needs that believes the authority and negotiates these protocols.
    ///
    /// # Panics
    /// Never: the authority has a certificate.
    #[must_use]
    pub fn connector(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.authority.bytes().into())
            .expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("known versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// Connects to a port of this host.
    ///
    /// # Panics
    /// When the gateway does not take it.
    pub async fn connect(&self, port: u16) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        self.connect_by(socket, port).await
    }

    /// Connects, and lets the kernel keep only so much of what the client does not read.
    ///
    /// # Panics
    /// When the gateway does not take it.
    pub async fn connect_narrow(&self, port: u16, receive_buffer: u32) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        let set = socket.set_recv_buffer_size(receive_buffer);
        set.expect("a socket");
        self.connect_by(socket, port).await
    }

    async fn connect_by(&self, socket: TcpSocket, port: u16) -> TlsStream<TcpStream> {
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        let stream = socket.connect(addr).await.expect("it listens");
        let secured = within("TLS", secure(&self.connector(&[]), stream)).await;
        secured.expect("the gateway speaks TLS")
    }
}

/// Puts TLS on a connection to this host.
///
/// # Panics
/// When the connection is gone.
pub async fn secure(
    connector: &TlsConnector,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).expect("a socket");
    let name = stream.peer_addr().expect("connected").ip().into();
    connector.connect(name, stream).await
}

/// The certificate that the gateway showed.
///
/// # Panics
/// When it showed none, as for a session that is resumed.
#[must_use]
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates();
    chain.expect("a certificate")[0].to_vec()
}
