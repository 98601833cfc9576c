//! Who may ask: Host, Origin and token.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{AUTHORIZATION, HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::{config::AdminConfig, secret::Secret};

/// The rules in force; a reload changes them under a listener that goes on.
#[derive(Clone)]
pub(super) struct Rules(Arc<RwLock<Arc<Access>>>);

impl Rules {
    /// Loopback only, until told otherwise.
    pub(super) fn new() -> Self {
        let closed = Access { token: None, hosts: Vec::new(), listen: Ipv4Addr::LOCALHOST.into() };
        Self(Arc::new(RwLock::new(Arc::new(closed))))
    }

    pub(super) fn set(&self, admin: &AdminConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Access::new(admin));
    }

    fn in_force(&self) -> Arc<Access> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who may ask.
struct Access {
    token: Option<Secret>,
    hosts: Vec<String>,
    listen: IpAddr,
}

impl Access {
    fn new(admin: &AdminConfig) -> Self {
        Self { token: admin.token.clone(), hosts: admin.hosts.clone(), listen: admin.listen.ip() }
    }

    /// A name that only an attacker's DNS points here must not reach the API through a visitor's browser.
    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
        self.knows_name(without_port(host))
    }

    fn knows_name(&self, name: &str) -> bool {
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_loopback() || address == self.listen)
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }

    /// A browser names the page that asks; a page of another site has no business here.
    fn knows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let name = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| without_port(host));
        name.is_some_and(|name| self.knows_name(name))
    }

    fn has_token(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let path = uri.path();
        let in_query = (path.starts_with("/live/") || path == "/api/v1/events")
            .then(|| uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token=")))
            .flatten()
            .map(str::as_bytes);
        bearer.or(in_query).is_some_and(|given| bool::from(given.ct_eq(token.expose().as_bytes())))
    }
}

/// Refuses what may not pass.
pub(super) async fn check(State(rules): State<Rules>, request: Request, next: Next) -> Response {
    let access = rules.in_force();
    let headers = request.headers();
    if !access.knows_host(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "the Host is not one of admin.hosts").into_response();
    }
    if !access.knows_origin(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "the Origin is another site").into_response();
    }
    let is_open = matches!(request.uri().path(), "/" | "/healthz" | "/readyz");
    if !is_open && !access.has_token(headers, request.uri()) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed");
        return ([("www-authenticate", "Bearer")], problem).into_response();
    }
    next.run(request).await
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>) -> Access {
        Access::new(&AdminConfig {
            listen: "127.0.0.1:8080".parse().unwrap(),
            token: token.map(|token| Secret::from(token.to_owned())),
            hosts: vec!["relay.example.com".to_owned()],
        })
    }

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn loopback_and_listed_hosts_are_known() {
        for host in
            ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "relay.example.com", "Relay.Example.com:80"]
        {
            assert!(access(None).knows_host(&headers(&[(HOST, host)])), "{host}");
        }
        for host in ["evil.example.com", "127.0.0.1.evil.com", "", "8.8.8.8", "relay.example.com.evil"] {
            assert!(!access(None).knows_host(&headers(&[(HOST, host)])), "{host}");
        }
        assert!(!access(None).knows_host(&headers(&[])));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (origin, known) in [
            ("http://127.0.0.1:8080", true),
            ("https://relay.example.com", true),
            ("http://evil.example.com", false),
            ("null", false),
        ] {
            assert_eq!(access(None).knows_origin(&headers(&[(ORIGIN, origin)])), known, "{origin}");
        }
        assert!(access(None).knows_origin(&headers(&[])));
    }

    #[test]
    fn the_token_is_a_bearer_or_where_no_header_can_be_set_in_the_query() {
        let bearer = headers(&[(AUTHORIZATION, "Bearer abc")]);
        let none = headers(&[]);
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(access(Some("abc")).has_token(&bearer, &uri("/api/v1/relays")));
        assert!(!access(Some("abd")).has_token(&bearer, &uri("/api/v1/relays")));
        assert!(!access(Some("abc")).has_token(&none, &uri("/api/v1/relays?token=abc")));
        assert!(access(Some("abc")).has_token(&none, &uri("/live/r.flv?x=1&token=abc")));
        assert!(!access(Some("abc")).has_token(&none, &uri("/live/r.flv?token=abcd")));
        assert!(access(None).has_token(&none, &uri("/metrics")));
    }
}
