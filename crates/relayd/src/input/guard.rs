//! The egress policy at every name, address, redirect and file of an input.

use std::{
    error::Error,
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use url::Host;

use super::{Shared, error::InputError};
use crate::{
    egress::{Egress, EgressError, OpenError},
    resolver::Resolver,
};

/// The lookups of one request. Judges the addresses that a name resolves to, right before one of them is connected to.
#[derive(Clone)]
pub(super) struct Lookups {
    egress: Egress,
    resolver: Resolver,
    unanswered: Arc<AtomicBool>,
}

impl Lookups {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { egress: shared.egress.clone(), resolver: shared.resolver.clone(), unanswered: Arc::default() }
    }

    /// The last lookup has not been answered. Of a request that was given up: it is the name servers that do not answer.
    pub(super) fn are_unanswered(&self) -> bool {
        self.unanswered.load(Relaxed)
    }
}

impl Resolve for Lookups {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = self.clone();
        Box::pin(async move {
            lookups.unanswered.store(true, Relaxed);
            // The client puts the port in.
            let found = lookups.resolver.resolve(name.as_str(), 0).await;
            lookups.unanswered.store(false, Relaxed);
            Ok(Box::new(lookups.egress.pass(found?)?.into_iter()) as Addrs)
        })
    }
}

/// Judges where each redirect leads; `limited` has the last word.
pub(super) fn redirects(egress: &Egress, limited: Policy) -> Policy {
    let egress = egress.clone();
    Policy::custom(move |attempt| match check_literal(&egress, attempt.url()) {
        Ok(()) => limited.redirect(attempt),
        Err(error) => attempt.error(error),
    })
}

/// Judges an address that stands in the place of a name: it never reaches the resolver.
pub(super) fn check(egress: &Egress, url: &str) -> Result<(), EgressError> {
    // What is no URL fails as a request.
    Url::parse(url).map_or(Ok(()), |url| check_literal(egress, &url))
}

/// The file at this path, opened. Waits for the disk.
pub(super) fn open(egress: &Egress, path: &Path) -> Result<File, InputError> {
    egress.open(path).map_err(|error| match error {
        OpenError::Refused(error) => InputError::Egress(error),
        OpenError::Unreadable(error) => InputError::File { path: path.display().to_string(), error },
    })
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

fn check_literal(egress: &Egress, url: &Url) -> Result<(), EgressError> {
    match url.host() {
        Some(Host::Ipv4(address)) => egress.check(address.into()),
        Some(Host::Ipv6(address)) => egress.check(address.into()),
        Some(Host::Domain(_)) | None => Ok(()),
    }
}
