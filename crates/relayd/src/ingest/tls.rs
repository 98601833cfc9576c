//! TLS for the RTMPS listener: one certificate, which can be another from one connection to the next.

use std::{
    fmt,
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

/// The RTMPS listener's side of TLS: 1.2 and 1.3, and no memory of earlier sessions, which publishers have no use for.
#[derive(Clone)]
pub struct IngestTls {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl IngestTls {
    /// With a certificate and its key.
    pub fn new(certificate: CertifiedKey) -> Self {
        let current = Arc::new(Current(RwLock::new(Arc::new(certificate))));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self { current, config: Arc::new(config) }
    }

    /// Connections from now on get this certificate.
    pub fn set(&self, certificate: CertifiedKey) {
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for IngestTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestTls").finish_non_exhaustive()
    }
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
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

/// The certificate in force.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
