//! Who may ask: Host, Origin and token.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{AUTHORIZATION, CONNECTION, HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::{config::AdminConfig, secret::Secret};

/// The rules of one listener; a reload changes them under connections that are open.
///
/// They never become another listener's: where that one asks for no token because it is on loopback, the connections to
/// this one may have come from anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<RwLock<Option<Arc<Access>>>>);

impl Rules {
    /// For a listener of this configuration that comes after none.
    pub(crate) fn new(admin: &AdminConfig) -> Self {
        Self::with(admin, Pass::default())
    }

    fn with(admin: &AdminConfig, pass: Pass) -> Self {
        Self(Arc::new(RwLock::new(Some(Arc::new(Access::new(admin, pass))))))
    }

    /// Another configuration of the same listener. What began with a token that is not the token any more ends.
    pub(crate) fn set(&self, admin: &AdminConfig) {
        let mut rules = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let pass = rules.take().map_or_else(Pass::default, |access| access.pass_under(admin));
        *rules = Some(Arc::new(Access::new(admin, pass)));
    }

    /// Another listener takes this one's place, by the rules that are returned: nobody is answered by these any more. What
    /// is being answered goes on until the token becomes another, now or later.
    pub(crate) fn hand_over(&self, next: &AdminConfig) -> Self {
        Self::with(next, self.take().map_or_else(Pass::default, |access| access.pass_under(next)))
    }

    /// The listener is gone, and no other comes for now: no request is answered any more. What is being answered goes on.
    ///
    /// What is returned is for a listener that comes after all, by [`hand_over`](Self::hand_over): the token may be another
    /// by then.
    pub(crate) fn close(&self) -> Self {
        Self(Arc::new(RwLock::new(self.take())))
    }

    fn take(&self) -> Option<Arc<Access>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn in_force(&self) -> Option<Arc<Access>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a request was let in with, and the stream that it began; it lasts as long as the token.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass(CancellationToken);

impl Pass {
    pub(super) fn is_revoked(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(super) async fn revoked(&self) {
        self.0.cancelled().await;
    }
}

/// Who may ask.
#[derive(Debug)]
struct Access {
    token: Option<Secret>,
    hosts: Vec<String>,
    listen: IpAddr,
    pass: Pass,
}

impl Access {
    fn new(admin: &AdminConfig, pass: Pass) -> Self {
        Self { token: admin.token.clone(), hosts: admin.hosts.clone(), listen: admin.listen.ip(), pass }
    }

    /// The pass of those who come under another configuration. Where a token is asked for that these did not show, they
    /// have to go.
    fn pass_under(&self, next: &AdminConfig) -> Pass {
        if next.token.is_none() || next.token == self.token {
            return self.pass.clone();
        }
        self.pass.0.cancel();
        Pass::default()
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
pub(super) async fn check(State(rules): State<Rules>, mut request: Request, next: Next) -> Response {
    let Some(access) = rules.in_force() else {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the HTTP side has moved or ends");
        return ([(CONNECTION, "close")], problem).into_response();
    };
    let headers = request.headers();
    if !access.knows_host(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "the Host is not one of admin.hosts").into_response();
    }
    if !access.knows_origin(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "the Origin is another site").into_response();
    }
    let is_open = matches!(request.uri().path(), "/" | "/healthz" | "/readyz");
    if !is_open {
        if !access.has_token(headers, request.uri()) {
            return unauthorized();
        }
        request.extensions_mut().insert(access.pass.clone());
    }
    next.run(request).await
}

/// The answer to who does not show the token.
pub(super) fn unauthorized() -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed");
    ([("www-authenticate", "Bearer")], problem).into_response()
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

    fn admin(token: Option<&str>) -> AdminConfig {
        AdminConfig {
            listen: "127.0.0.1:8080".parse().unwrap(),
            token: token.map(|token| Secret::from(token.to_owned())),
            hosts: vec!["relay.example.com".to_owned()],
        }
    }

    fn access(token: Option<&str>) -> Access {
        Access::new(&admin(token), Pass::default())
    }

    /// Before, after, and whether who was let in before has to go.
    const TOKENS: [(Option<&str>, Option<&str>, bool); 5] = [
        (Some("a"), Some("a"), false),
        (Some("a"), Some("b"), true),
        (None, Some("a"), true),
        (Some("a"), None, false),
        (None, None, false),
    ];

    #[test]
    fn streams_end_with_the_token_that_they_began_with() {
        for (before, after, has_to_go) in TOKENS {
            let rules = Rules::new(&admin(before));
            let pass = rules.in_force().unwrap().pass.clone();
            rules.set(&admin(after));
            assert_eq!(pass.is_revoked(), has_to_go, "{before:?} -> {after:?}");
            assert!(!rules.in_force().unwrap().pass.is_revoked(), "who comes now may stay");
        }
    }

    #[test]
    fn a_listener_that_is_gone_answers_nobody_and_keeps_what_the_next_one_would_let_in() {
        for (before, after, has_to_go) in TOKENS {
            let rules = Rules::new(&admin(before));
            let pass = rules.in_force().unwrap().pass.clone();
            let next = rules.hand_over(&admin(after));
            assert_eq!(pass.is_revoked(), has_to_go, "{before:?} -> {after:?}");
            assert!(rules.in_force().is_none());
            assert!(!next.in_force().unwrap().pass.is_revoked(), "who comes now may stay");
            next.hand_over(&admin(Some("c"))).set(&admin(Some("d")));
            assert!(pass.is_revoked(), "{before:?} -> {after:?} -> another one: nobody is forgotten");
        }
    }

    #[test]
    fn a_listener_that_comes_back_remembers_who_was_let_in() {
        for (before, after, has_to_go) in TOKENS {
            let rules = Rules::new(&admin(before));
            let pass = rules.in_force().unwrap().pass.clone();
            let left = rules.close();
            assert!(rules.in_force().is_none() && !pass.is_revoked());
            let next = left.hand_over(&admin(after));
            assert_eq!(pass.is_revoked(), has_to_go, "{before:?} -> gone -> {after:?}");
            assert!(!next.in_force().unwrap().pass.is_revoked(), "who comes now may stay");
        }
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
