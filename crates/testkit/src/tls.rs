//! Certificates that are made while a test runs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::SupportedProtocolVersion;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::version::{TLS12, TLS13};

/// A certificate authority of its own.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows: a certificate with its key, and the versions of TLS that it speaks.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    #[expect(clippy::new_without_default, reason = "two authorities are never the same")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // A name of its own: an authority of a known name with another key would be a forgery, not a stranger.
        params.distinguished_name.push(DnType::CommonName, format!("testkit {:016x}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, new_key()).expect("the parameters are sound"))
    }

    /// Its own certificate, for whoever is to trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host name or an address.
    pub fn certify(&self, host: &str) -> Identity {
        self.sign(host, |_| {})
    }

    /// One that expired long ago.
    pub fn certify_expired(&self, host: &str) -> Identity {
        self.sign(host, |params| params.not_after = date_time_ymd(2001, 9, 9))
    }

    fn sign(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a test's host name is one");
        params.distinguished_name.push(DnType::CommonName, host);
        change(&mut params);
        let key = new_key();
        let certificate = params.signed_by(&key, &self.0).expect("the parameters are sound");
        Identity { certificate: certificate.into(), key: Arc::new(key.into()), versions: vec![&TLS13, &TLS12] }
    }
}

impl Identity {
    /// Speaks TLS 1.2 and nothing newer.
    #[must_use]
    pub fn tls12_only(mut self) -> Self {
        self.versions = vec![&TLS12];
        self
    }

    /// Speaks TLS 1.3 and nothing older.
    #[must_use]
    pub fn tls13_only(mut self) -> Self {
        self.versions = vec![&TLS13];
        self
    }

    pub(crate) fn into_config(self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.versions)
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key.clone_key())
            .expect("the key is the certificate's");
        Arc::new(config)
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system gives out random numbers")
}
