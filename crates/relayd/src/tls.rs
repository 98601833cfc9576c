//! TLS for https inputs and rtmps outputs: rustls with ring, one configuration per set of trusted roots.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tracing::warn;

use crate::config::OutputTls;

/// Client configurations, made once per set of roots: sessions and buffers are shared by all that trust the same.
#[derive(Clone, Debug)]
pub struct TlsConfigs {
    native: Arc<ClientConfig>,
    special: Arc<Mutex<HashMap<OutputTls, Arc<ClientConfig>>>>,
}

impl TlsConfigs {
    /// Reads the system's roots.
    pub fn load() -> Self {
        Self { native: Arc::new(verified(roots(None))), special: Arc::default() }
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
        let made = special.entry(tls.clone()).or_insert_with(|| {
            Arc::new(if tls.insecure { unverified() } else { verified(roots(tls.ca_file.as_deref())) })
        });
        Arc::clone(made)
    }
}

/// The system's roots and, if given, those of a PEM file, which the configuration has read once already.
fn roots(ca_file: Option<&Path>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "a system root certificate cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        match CertificateDer::pem_file_iter(path) {
            Ok(certificates) => {
                roots.add_parsable_certificates(certificates.filter_map(Result::ok));
            }
            Err(error) => warn!(path = %path.display(), %error, "ca_file cannot be read"),
        }
    }
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
