//! TLS for the RTMPS listener: one certificate, which can be read again while connections come.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::config::IngestTlsConfig;

/// The RTMPS listener's side of TLS: 1.2 and 1.3, and no memory of earlier sessions, which publishers have no use for.
#[derive(Clone)]
pub struct IngestTls {
    files: Arc<IngestTlsConfig>,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl IngestTls {
    /// Reads the certificate and its key.
    pub fn load(files: &IngestTlsConfig) -> Result<Self, CertificateError> {
        let current = Arc::new(Current(RwLock::new(Arc::new(read(files)?))));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { files: Arc::new(files.clone()), current, config: Arc::new(config) })
    }

    /// Reads the files again: connections from now on get the new certificate. When it cannot be used, the old one
    /// stays. Either is logged.
    pub fn reload(&self) {
        match read(&self.files) {
            Ok(new) => {
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                info!(cert = %self.files.cert.display(), "RTMPS ingest: the certificate was read again");
            }
            Err(error) => error!(%error, "RTMPS ingest: the certificate stays as it was"),
        }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for IngestTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestTls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate in PEM, or a damaged one.
    #[error("the certificate file holds no certificates; allowed: a PEM file, the server's own certificate first")]
    NoCertificates,
    /// No key in PEM.
    #[error("the key file holds no private key; allowed: a PEM file with an unencrypted PKCS #8, PKCS #1 or SEC1 key")]
    NoKey,
    /// The two do not belong together.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// ring does not know what to do with one of them.
    #[error("the certificate or the key cannot be used: {0}")]
    Unusable(rustls::Error),
}

/// A certificate with the key that belongs to it, from PEM.
pub fn certified_key(cert: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(cert).collect();
    let certificates = certificates.map_err(|_| CertificateError::NoCertificates)?;
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificates);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
    let provider: CryptoProvider = ring::default_provider();
    CertifiedKey::from_der(certificates, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch,
        other => CertificateError::Unusable(other),
    })
}

fn read(files: &IngestTlsConfig) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &PathBuf| fs::read(path).map_err(|source| CertificateError::Read { path: path.clone(), source });
    certified_key(&read(&files.cert)?, &read(&files.key)?)
}

/// The certificate in force.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
