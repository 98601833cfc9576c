//! Why an input's connection ended or did not come about.

use std::{error::Error as _, io, time::Duration};

use relay::{Rate, Reason};
use thiserror::Error;

use super::guard::refused;
use crate::{egress::EgressError, ingest::Closed, status::LastError};

/// An input's trouble. URLs are taken out of every message: their queries are secrets.
#[derive(Debug, Error)]
pub(super) enum InputError {
    /// The HTTP client failed.
    #[error("{}", root_cause(.0))]
    Http(#[source] reqwest::Error),
    /// The egress policy has refused an address or a file.
    #[error(transparent)]
    Egress(EgressError),
    /// The name of the server is still being asked for.
    #[error("the name servers have not answered within {}", humantime::format_duration(*.0))]
    NameServers(Duration),
    /// An HTTP status other than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// No response in time.
    #[error("no response within {}", humantime::format_duration(*.0))]
    NoResponse(Duration),
    /// A vod item gives nothing to play.
    #[error("no tag for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// A call of the disk that does not return.
    #[error("the disk does not answer")]
    FileSilent,
    /// It has not returned since, or too many have not.
    #[error("earlier calls for this input's files have not returned yet")]
    FileHangs,
    /// A bug in such a call.
    #[error("the call of the disk has panicked")]
    FilePanicked,
    /// A list that would be over as soon as it has begun, again and again.
    #[error("the list holds no media with a duration")]
    NoDuration,
    /// A response whose head is too large.
    #[error("the response has {count} header fields, more than the {max} of limits.http_headers")]
    HeaderFields {
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// The same in bytes.
    #[error("the response has {bytes} bytes of header fields, more than the {max} of limits.http_head")]
    HeaderBytes {
        /// How many.
        bytes: usize,
        /// How many may be.
        max: usize,
    },
    /// The framing is lost again and again.
    #[error("the framing was lost more often than the {}/{} of limits.resyncs", .0.count, humantime::format_duration(.0.window))]
    Resyncs(Rate),
    /// A web page.
    #[error("the server answers with a web page (Content-Type {0}), not FLV")]
    WebPage(String),
    /// What came is not sound FLV.
    #[error(transparent)]
    Flv(#[from] flv::Error),
    /// The body ended.
    #[error("the stream ended after {0} bytes")]
    Eof(u64),
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The publisher broke the protocol.
    #[error(transparent)]
    Ingest(#[from] rtmp::ingest::IngestError),
    /// The publisher's connection broke.
    #[error("the publisher's connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The publisher says nothing.
    #[error("no byte from the publisher for {}", humantime::format_duration(*.0))]
    Idle(Duration),
    /// A reply stays unread.
    #[error("the publisher takes no replies")]
    Deaf,
    /// Another publisher came for its place.
    #[error("another publisher has taken the place of a silent one")]
    Replaced,
    /// The publisher left.
    #[error("the publisher has left")]
    Left,
    /// The relay task found the connection of no use.
    #[error("given up: {0}")]
    Restarted(Reason),
}

impl InputError {
    /// Of a request that failed before its response came.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        refused(&error).map_or_else(|| Self::Http(error.without_url()), Self::Egress)
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Http(error) => http_reason(error),
            Self::NameServers(_) => Reason::Dns,
            Self::Status(_) | Self::HeaderFields { .. } | Self::HeaderBytes { .. } => Reason::HttpStatus,
            Self::NoResponse(_) | Self::Broken(_) | Self::Deaf | Self::File { .. } | Self::Egress(_) => Reason::Connect,
            Self::Silent(_) | Self::FileSilent | Self::FileHangs | Self::Idle(_) => Reason::NoBytes,
            Self::FilePanicked => Reason::Panic,
            Self::WebPage(_) => Reason::NotFlv,
            Self::Flv(error) if matches!(error.kind, flv::ErrorKind::NotFlv { .. }) => Reason::NotFlv,
            Self::Flv(error) if matches!(error.kind, flv::ErrorKind::Truncated) => Reason::Eof,
            Self::Flv(_) | Self::Ingest(_) | Self::Resyncs(_) => Reason::Resync,
            Self::Eof(_) | Self::NoDuration | Self::Left | Self::Replaced => Reason::Eof,
            Self::Restarted(reason) => *reason,
        }
    }

    /// The word for it among the ends of the ingest's connections.
    pub(super) fn closed(&self) -> Closed {
        match self {
            Self::Ingest(error) => error.into(),
            Self::Idle(_) => Closed::IdleTimeout,
            Self::Deaf => Closed::Flooded,
            Self::Replaced => Closed::Replaced,
            Self::Left => Closed::Left,
            Self::Restarted(_) => Closed::Restarted,
            _ => Closed::Broken,
        }
    }

    pub(super) fn to_last_error(&self) -> LastError {
        LastError::now(self.reason().name(), self.to_string())
    }
}

fn http_reason(error: &reqwest::Error) -> Reason {
    if error.is_redirect() {
        return Reason::HttpStatus;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if is_tls(cause) {
            return Reason::Tls;
        }
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return Reason::Eof;
        }
        if cause.to_string().contains("dns error") {
            return Reason::Dns;
        }
        source = cause.source();
    }
    Reason::Connect
}

/// io::Error hides what it wraps from `source`, and may wrap another.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}

/// The innermost error says what happened; the outer ones quote the URL.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_redirect() {
        return "too many redirects, or a redirect that leads nowhere".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) {
        return "the request failed".to_owned();
    }
    cause.to_string()
}
