//! TLS: for clients, certificates that are read again when their files change, and sessions; and as
//! a client of others, above all of NATS.

mod certificate;
mod client;
mod expiry;
mod session;

use std::sync::Arc;

use rustls::{
    Error, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::NoServerSessionStorage,
};

pub(crate) use self::{
    certificate::{Certificate, watch},
    client::ClientTls,
    session::Session,
};
pub use certificate::CertificateFiles;

/// How a listener proves itself. Clients that come back resume their session with a ticket, for
/// which the gateway keeps nothing.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod testing {
    //! Certificates for tests.

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    /// A certificate for `localhost` that vouches for itself, and its key, as files hold them.
    pub(super) struct Pair {
        pub(super) cert: String,
        pub(super) key: String,
    }

    pub(super) fn pair() -> Pair {
        let (certificate, key) = signed();
        Pair {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(super) fn self_signed() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, key) = signed();
        (certificate.into(), key.into())
    }

    fn signed() -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate, key)
    }
}
