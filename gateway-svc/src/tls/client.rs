//! TLS as a client: whom the gateway believes, and how it proves itself where it is asked to.
//!
//! Files are read whenever a connection is made, so a Secret that was rotated counts from the next
//! connection on.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::certificate::CertificateFiles;

/// The system's authorities, which take some milliseconds to read: once.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// The files that make up a client's part in TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientTls {
    /// PEM, with the authorities that are believed; those of the system where there is none.
    pub(crate) ca: Option<PathBuf>,
    /// What a server is shown that asks for it.
    pub(crate) own: Option<CertificateFiles>,
}

impl ClientTls {
    /// Reads the files; an error names the one that is to be mended.
    pub(crate) fn config(&self) -> Result<ClientConfig, String> {
        let roots = match &self.ca {
            Some(file) => {
                let roots = authorities(file);
                Arc::new(roots.map_err(|e| format!("authority {}: {e}", file.display()))?)
            }
            None => SYSTEM.clone(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let Some(files) = &self.own else {
            return Ok(config.with_no_client_auth());
        };
        let (chain, key) = files.pair(&files.read()?)?;
        config
            .with_client_auth_cert(chain, key)
            .map_err(|e| files.misfit(&e))
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let pem = fs::read(file).map_err(|e| e.to_string())?;
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&pem) {
        let cert = cert.map_err(|e| format!("not PEM: {e}"))?;
        roots.add(cert).map_err(|e| e.to_string())?;
    }
    match roots.is_empty() {
        true => Err("no certificate in it".into()),
        false => Ok(roots),
    }
}
