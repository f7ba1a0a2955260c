//! A listener's certificate: read at the start, and again whenever its files change.
//!
//! Who is connected keeps what it shook hands with; who comes next gets the new one. What is broken
//! or does not belong together never takes the place of what works.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    Error, InconsistentKeys, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::time::interval;
use tracing::{error, info, warn};

use super::{expiry::not_after, server_config};
use crate::metrics::CertificateMetrics;

/// How often the files are looked at. A change counts when it is the same at the next look too:
/// files that are still being written are not read.
const LOOK: Duration = Duration::from_secs(1);

/// Where a certificate stands: a listener's, or the gateway's own as a client of NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// A PEM file with the certificate, then those that lead from it to its authority.
    pub cert: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
}

/// What a listener proves itself with.
pub(crate) struct Certificate {
    files: CertificateFiles,
    alpn: &'static [&'static [u8]],
    newest: RwLock<Newest>,
}

struct Newest {
    config: Arc<ServerConfig>,
    /// In seconds since 1970.
    expires: u64,
    print: u64,
}

/// A certificate with those that lead to its authority, and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl CertificateFiles {
    pub(super) fn read(&self) -> Result<Pem, String> {
        let read = |name, path: &PathBuf| {
            fs::read(path).map_err(|e| format!("{name} {}: {e}", path.display()))
        };
        Ok(Pem {
            cert: read("cert", &self.cert)?,
            key: read("key", &self.key)?,
        })
    }

    /// The certificate, then those that lead to its authority, and the key.
    pub(super) fn pair(&self, pem: &Pem) -> Result<Pair, String> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.cert).collect();
        let chain = chain.map_err(|e| format!("cert {cert}: not PEM: {e}"))?;
        if chain.is_empty() {
            return Err(format!("cert {cert}: no certificate in it"));
        }
        let secret = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|e| match e {
            rustls::pki_types::pem::Error::NoItemsFound => {
                format!("key {key}: no private key in it that is not encrypted")
            }
            e => format!("key {key}: not PEM: {e}"),
        })?;
        Ok((chain, secret))
    }

    /// Why the two cannot be used.
    pub(super) fn misfit(&self, e: &Error) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        match e {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("cert {cert} and key {key} do not belong together")
            }
            e => format!("cert {cert} with key {key}: {e}"),
        }
    }

    fn understand(&self, pem: &Pem, alpn: &[&[u8]]) -> Result<Newest, String> {
        let (chain, secret) = self.pair(pem)?;
        let expires = not_after(&chain[0])
            .ok_or_else(|| format!("cert {}: not an X.509 certificate", self.cert.display()))?;
        let config = server_config(chain, secret, alpn).map_err(|e| self.misfit(&e))?;
        Ok(Newest {
            config: Arc::new(config),
            expires,
            print: pem.print(),
        })
    }
}

/// What stands in the files.
pub(super) struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    /// By which a change is noticed, however the files were changed: in place, by another file of
    /// the name, or by a link that leads elsewhere.
    fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.cert, &self.key).hash(&mut hasher);
        hasher.finish()
    }
}

impl Certificate {
    /// Reads the files; an error is one line that names the file.
    pub(crate) fn load(
        files: CertificateFiles,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, String> {
        let newest = files.understand(&files.read()?, alpn)?;
        Ok(Self {
            files,
            alpn,
            newest: RwLock::new(newest),
        })
    }

    /// What the next client is to shake hands with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.config.clone()
    }

    fn expires(&self) -> u64 {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.expires
    }

    fn renew(&self, newest: Newest) {
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = newest;
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

/// What was seen in the files: their print, or why they could not be read.
type Sight = Result<u64, String>;

/// The one who looks at a certificate's files.
struct Watcher {
    certificate: Arc<Certificate>,
    /// What was dealt with, for good or ill.
    known: Sight,
    /// What was seen at the last look.
    seen: Sight,
}

/// What a look brought.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Nothing,
    Renewed,
    /// The old one stays, because of this.
    Broken(String),
}

impl Watcher {
    fn new(certificate: Arc<Certificate>) -> Self {
        let newest = certificate.newest.read();
        let print = newest.unwrap_or_else(PoisonError::into_inner).print;
        Self {
            certificate,
            known: Ok(print),
            seen: Ok(print),
        }
    }

    fn look(&mut self) -> Look {
        let files = &self.certificate.files;
        let read = files.read();
        let sight = read.as_ref().map(Pem::print).map_err(Clone::clone);
        let before = mem::replace(&mut self.seen, sight.clone());
        if sight == self.known || sight != before {
            return Look::Nothing;
        }
        self.known = sight;
        match read.and_then(|pem| files.understand(&pem, self.certificate.alpn)) {
            Ok(newest) => {
                self.certificate.renew(newest);
                Look::Renewed
            }
            Err(e) => Look::Broken(e),
        }
    }
}

/// Looks at the files of listeners' certificates for ever, and tells log and metrics what it finds.
pub(crate) async fn watch(certificates: Vec<(Arc<Certificate>, String, CertificateMetrics)>) {
    let mut watchers = Vec::new();
    for (certificate, listener, metrics) in certificates {
        tell_expiry(&certificate, &listener, &metrics);
        watchers.push((Watcher::new(certificate), listener, metrics));
    }
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        // a file system may take its time
        let looked = tokio::task::spawn_blocking(move || {
            for (watcher, listener, metrics) in &mut watchers {
                match watcher.look() {
                    Look::Nothing => {}
                    Look::Renewed => {
                        info!(%listener, "the certificate has changed; new connections get it");
                        metrics.renewed.inc();
                        tell_expiry(&watcher.certificate, listener, metrics);
                    }
                    Look::Broken(why) => {
                        error!(%listener, "the certificate has changed and cannot be used, the old one stays: {why}");
                        metrics.broken.inc();
                    }
                }
            }
            watchers
        });
        match looked.await {
            Ok(back) => watchers = back,
            // the process ends
            Err(_) => return,
        }
    }
}

fn tell_expiry(certificate: &Certificate, listener: &str, metrics: &CertificateMetrics) {
    let expires = certificate.expires();
    metrics.expires.set(expires);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(expires);
    if at <= SystemTime::now() {
        let at = humantime::format_rfc3339_seconds(at);
        warn!(%listener, "the certificate has expired, at {at}");
    }
}

#[cfg(test)]
mod tests;
