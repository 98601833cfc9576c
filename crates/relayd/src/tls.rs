//! TLS for https inputs and rtmps outputs: rustls with ring, one configuration per set of trusted roots.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tracing::warn;

use crate::config::{OutputTls, PemFile};

/// Client configurations, made once per set of roots: sessions and buffers are shared by all that trust the same.
#[derive(Clone, Debug)]
pub struct TlsConfigs {
    roots: Arc<RootCertStore>,
    native: Arc<ClientConfig>,
    special: Arc<Mutex<HashMap<OutputTls, Arc<ClientConfig>>>>,
}

impl TlsConfigs {
    /// Reads the system's roots, once: later there may be no descriptor to open them with.
    pub fn load() -> Self {
        let roots = system_roots();
        Self { native: Arc::new(verified(roots.clone())), roots: Arc::new(roots), special: Arc::default() }
    }

    /// The configuration that trusts the system's roots.
    pub fn native(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.native)
    }

    /// The configuration for an output.
    pub fn for_output(&self, tls: &OutputTls) -> Arc<ClientConfig> {
        if *tls == OutputTls::default() {
            return self.native();
        }
        let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of outputs that are gone.
        special.retain(|known, config| known == tls || Arc::strong_count(config) > 1);
        let made = special.entry(tls.clone()).or_insert_with(|| {
            Arc::new(if tls.insecure { unverified() } else { verified(self.roots_with(tls.ca.as_ref())) })
        });
        Arc::clone(made)
    }

    fn roots_with(&self, ca: Option<&PemFile>) -> RootCertStore {
        let mut roots = RootCertStore::clone(&self.roots);
        if let Some(ca) = ca {
            // The configuration has seen that all of them can be read.
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&ca.pem).filter_map(Result::ok));
        }
        roots
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "a system root certificate cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots
}

fn verified(roots: RootCertStore) -> ClientConfig {
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn unverified() -> ClientConfig {
    let verifier = Arc::new(AnyCertificate(Arc::new(ring::default_provider())));
    builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
}

/// For `insecure_tls`: encryption without knowing with whom.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
