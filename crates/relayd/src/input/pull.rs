//! `pull` inputs: HTTP-FLV.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use relay::{Backoff, Report};
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use tokio::time::timeout;
use tracing::info;

use super::{Command, Gone, Link, Shared, error::InputError, guard, stream::FlvStream};
use crate::config::{LimitsConfig, PullConfig};

/// Connects, reads, and connects anew after a backoff, for as long as the relay wants it.
pub(super) async fn run(config: PullConfig, shared: &Shared, mut link: Link) -> Result<(), Gone> {
    let mut backoff = Backoff::new(config.retry);
    loop {
        link.report(vec![Report::Connecting]).await?;
        let error = read_once(&config, shared, &mut link, &mut backoff).await?;
        let wait = backoff.failed(Instant::now(), fastrand::f64()).unwrap_or(config.retry.max);
        link.lost(&error, Some(wait)).await?;
        link.pause(wait).await?;
    }
}

/// One connection, from request to end. The answer says why it ended.
async fn read_once(
    config: &PullConfig,
    shared: &Shared,
    link: &mut Link,
    backoff: &mut Backoff,
) -> Result<InputError, Gone> {
    let opened = tokio::select! {
        opened = open(config, shared) => opened,
        command = link.commands.recv() => match command {
            Some(Command::Restart(reason)) => Err(InputError::Restarted(reason)),
            Some(Command::Play) => Err(InputError::Restarted(relay::Reason::Manual)),
            None => return Err(Gone),
        },
    };
    let response = match opened {
        Ok(response) => response,
        Err(error) => return Ok(error),
    };
    info!(url = %config.url, "connected");
    link.report(vec![Report::Connected]).await?;
    let body = response.bytes_stream();
    let flv = FlvStream::new(config.max_tag_size, &shared.limits);
    read_body(body, flv, link, || backoff.succeeded(Instant::now())).await
}

/// Reads a body to its end. `on_media` is called when the first tag has come.
async fn read_body(
    body: impl Stream<Item = reqwest::Result<Bytes>>,
    mut flv: FlvStream,
    link: &mut Link,
    on_media: impl FnOnce(),
) -> Result<InputError, Gone> {
    let mut body = std::pin::pin!(body);
    let mut on_media = Some(on_media);
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece,
            command = link.commands.recv() => match command {
                Some(Command::Restart(reason)) => return Ok(InputError::Restarted(reason)),
                Some(Command::Play) => continue,
                None => return Err(Gone),
            },
        };
        let mut reports = Vec::new();
        let ended = match piece {
            Some(Ok(piece)) => flv.push(piece, &mut reports).err(),
            Some(Err(error)) => Some(InputError::Http(error.without_url())),
            None => Some(flv.finish(&mut reports)),
        };
        if reports.iter().any(|report| matches!(report, Report::Tag(_)))
            && let Some(on_media) = on_media.take()
        {
            on_media();
        }
        link.report(reports).await?;
        if let Some(error) = ended {
            return Ok(error);
        }
    }
}

/// Asks for the stream; returns once the response's headers are there and promise FLV.
pub(super) async fn open(config: &PullConfig, shared: &Shared) -> Result<Response, InputError> {
    guard::check(&shared.egress, config.url.expose()).map_err(InputError::Egress)?;
    let lookups = guard::Lookups::new(shared);
    let client = client(config, shared, lookups.clone()).map_err(InputError::Http)?;
    let request = client.get(config.url.expose()).send();
    let response = match timeout(config.connect_timeout, request).await {
        Ok(Ok(response)) => response,
        // The client has the same limit, and may be the first to give up.
        _ if lookups.are_unanswered() => return Err(InputError::NameServers(config.connect_timeout)),
        Ok(Err(error)) => return Err(InputError::of_request(error)),
        Err(_) => return Err(InputError::NoResponse(config.connect_timeout)),
    };
    check_head(response.headers(), &shared.limits)?;
    if response.status() != StatusCode::OK {
        return Err(InputError::Status(response.status().as_u16()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("text/html") {
        return Err(InputError::WebPage("text/html".to_owned()));
    }
    Ok(response)
}

/// The HTTP client takes no more than 100 fields and 400 KiB in the first place; this is about less.
fn check_head(headers: &HeaderMap, limits: &LimitsConfig) -> Result<(), InputError> {
    // Name, colon, space, value, line end.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > limits.http_headers {
        return Err(InputError::HeaderFields { count: headers.len(), max: limits.http_headers });
    }
    if bytes > limits.http_head {
        return Err(InputError::HeaderBytes { bytes, max: limits.http_head });
    }
    Ok(())
}

/// A client per attempt: names are resolved anew (CDNs move their edges) and nothing is pooled.
fn client(config: &PullConfig, shared: &Shared, lookups: guard::Lookups) -> reqwest::Result<Client> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        // The configuration has checked both.
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.expose()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&shared.tls))
        .user_agent(concat!("relayd/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(config.connect_timeout)
        .redirect(guard::redirects(&shared.egress, Policy::limited(shared.limits.redirects)))
        .dns_resolver(Arc::new(lookups))
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(0)
        .tcp_nodelay(true)
        .build()
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::{egress::Egress, ingest::PushKeys, resolver::Resolver, secret::MediaUrl, tls::TlsConfigs};

    #[tokio::test]
    async fn name_servers_that_do_not_answer_are_told() {
        let config = PullConfig {
            url: MediaUrl::parse("http://dead.test/a.flv".to_owned()).unwrap(),
            headers: Vec::new(),
            connect_timeout: Duration::from_millis(100),
            max_tag_size: 1 << 20,
            retry: relay::RetryPolicy::INPUT,
        };
        let silent = Resolver::new(Duration::MAX, |_| {
            loop {
                thread::park();
            }
        });
        let shared = Shared {
            tls: TlsConfigs::load().native(),
            push_keys: PushKeys::default(),
            resolver: silent,
            egress: Egress::Trusted,
            limits: Arc::default(),
        };
        let error = open(&config, &shared).await.unwrap_err();
        assert_eq!(error.reason(), relay::Reason::Dns);
        assert_eq!(error.to_string(), "the name servers have not answered within 100ms");
    }
}
