//! The egress policy at every name, address, redirect and file of an input.

use std::{error::Error, io, path::Path};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use tokio::{fs::File, net::lookup_host, task::spawn_blocking};
use url::Host;

use super::error::InputError;
use crate::egress::{Egress, EgressError, OpenError};

/// Judges the addresses that a name resolves to, right before one of them is connected to.
pub(super) struct Resolver(pub(super) Egress);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0.clone();
        Box::pin(async move {
            // The client puts the port in.
            let found = lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(egress.pass(found)?.into_iter()) as Addrs)
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

/// The file at this path, opened.
pub(super) async fn open(egress: &Egress, path: &Path) -> Result<File, InputError> {
    let (egress, path) = (egress.clone(), path.to_owned());
    let opened = spawn_blocking(move || {
        egress.open(&path).map_err(|error| match error {
            OpenError::Refused(error) => InputError::Egress(error),
            OpenError::Unreadable(error) => InputError::File { path: path.display().to_string(), error },
        })
    });
    let opened = opened.await.unwrap_or(Err(InputError::Egress(EgressError::File(io::ErrorKind::Interrupted))))?;
    Ok(File::from_std(opened))
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
