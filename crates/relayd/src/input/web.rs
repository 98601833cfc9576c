//! The way out of an input: TLS, and the egress policy at every name, address, redirect and file.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::{
    ClientBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use tokio::{net::lookup_host, task::spawn_blocking};
use url::Host;

use crate::egress::{Egress, EgressError, EgressPolicy};

/// What an input opens its connections and files with.
#[derive(Clone, Debug)]
pub(super) struct Web {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) egress: Egress,
}

impl Web {
    /// A client that follows a few redirects, and connects nowhere where the policy does not want it: names are judged
    /// by what they resolve to, right before the connection is made.
    pub(super) fn client(&self) -> ClientBuilder {
        let client = reqwest::Client::builder().tls_backend_preconfigured(rustls::ClientConfig::clone(&self.tls));
        let limited = Policy::limited(MAX_REDIRECTS);
        let Egress::Limited(policy) = &self.egress else { return client.redirect(limited) };
        let (resolver, policy) = (Arc::new(Resolver(Arc::clone(policy))), Arc::clone(policy));
        let redirects = Policy::custom(move |attempt| match check_literal(&policy, attempt.url()) {
            Ok(()) => limited.redirect(attempt),
            Err(error) => attempt.error(error),
        });
        client.redirect(redirects).dns_resolver(resolver)
    }

    /// An address in place of a name never reaches the resolver.
    pub(super) fn check(&self, url: &str) -> Result<(), EgressError> {
        match (&self.egress, Url::parse(url)) {
            (Egress::Limited(policy), Ok(url)) => check_literal(policy, &url),
            // The request itself fails.
            (_, Err(_)) | (Egress::Trusted, _) => Ok(()),
        }
    }

    /// The path to open in place of this one.
    pub(super) async fn file(&self, path: &Path) -> Result<PathBuf, EgressError> {
        let (policy, path) = match &self.egress {
            Egress::Trusted => return Ok(path.to_owned()),
            Egress::Limited(policy) => (Arc::clone(policy), path.to_owned()),
        };
        let looked = spawn_blocking(move || policy.file(&path)).await;
        looked.unwrap_or(Err(EgressError::File(io::ErrorKind::Interrupted)))
    }
}

/// What the policy has refused, if that is why a request failed.
pub(super) fn refused(error: &(dyn Error + 'static)) -> Option<EgressError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<EgressError>() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

fn check_literal(policy: &EgressPolicy, url: &Url) -> Result<(), EgressError> {
    match url.host() {
        Some(Host::Ipv4(address)) => policy.check(address.into()),
        Some(Host::Ipv6(address)) => policy.check(address.into()),
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

struct Resolver(Arc<EgressPolicy>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            // The client puts the port in.
            let found = lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(policy.pass(found)?.into_iter()) as Addrs)
        })
    }
}

/// CDNs redirect once or twice; more is a loop.
const MAX_REDIRECTS: usize = 5;
