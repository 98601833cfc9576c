//! Why a session ended or did not come about.

use std::{io, time::Duration};

use rtmp::publish::{PublishError, Retry};
use rustls::CertificateError;
use thiserror::Error;

use crate::{egress::EgressError, resolver::LookupError, status::LastError};

/// An output's trouble. No variant carries the stream key.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// The name does not resolve.
    #[error("the server's name does not resolve: {0}")]
    Dns(#[source] LookupError),
    /// The name servers keep their answer.
    #[error("the name servers have not answered within {}", humantime::format_duration(*.0))]
    NameServers(Duration),
    /// The name resolves to nothing.
    #[error("the server's name has no address")]
    NoAddress,
    /// The egress policy refuses every address of the name.
    #[error(transparent)]
    Egress(EgressError),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No connection in time.
    #[error("no connection within {}", humantime::format_duration(*.0))]
    ConnectTimeout(Duration),
    /// The host cannot stand in a certificate.
    #[error("the server's name cannot be verified by TLS")]
    ServerName,
    /// No TLS with this server: its certificate does not hold, or it breaks the protocol.
    #[error("TLS: {}", told(.0))]
    Tls(#[source] io::Error),
    /// The platform answered in a way that ends the session.
    #[error(transparent)]
    Rtmp(#[from] PublishError),
    /// The platform did not answer.
    #[error("no answer to {step} within {}", humantime::format_duration(*limit))]
    NoAnswer {
        /// What was waited for.
        step: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The platform closed the connection.
    #[error("the server closed the connection {0}")]
    Closed(&'static str),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The socket took nothing for `write_timeout`.
    #[error("the server took no byte for {}", humantime::format_duration(*.0))]
    WriteStalled(Duration),
    /// A bug in relayd.
    #[error("the session's code panicked; the log says where")]
    Panicked,
    /// The lag reached its last stage.
    #[error("too far behind: the lag reached the limit of max_lag or max_lag_bytes")]
    Lagged,
}

impl OutputError {
    /// The machine word for status and logs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) | Self::NameServers(_) | Self::NoAddress => "dns",
            Self::Egress(_) => "egress",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout(_) | Self::NoAnswer { .. } => "timeout",
            Self::ServerName | Self::Tls(_) => "tls",
            Self::Rtmp(error) => error.kind(),
            Self::Closed(_) | Self::Broken(_) => "closed",
            Self::WriteStalled(_) => "stalled",
            Self::Lagged => "lagged",
            Self::Panicked => "panic",
        }
    }

    /// How the next attempt is spaced.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Rtmp(error) => error.retry(),
            Self::ServerName | Self::Egress(_) => Retry::Never,
            _ => Retry::Normal,
        }
    }

    /// As it is shown.
    pub(super) fn to_last_error(&self) -> LastError {
        LastError::now(self.kind(), self.to_string())
    }
}

/// Whether it is TLS that failed, not the connection below it.
pub(super) fn is_tls(error: &io::Error) -> bool {
    cause(error).is_some()
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What rustls says, where its words are for users.
fn told(error: &io::Error) -> String {
    match cause(error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the server's certificate is signed by an authority that is not trusted; ca_file can name it".to_owned()
        }
        _ => error.to_string(),
    }
}
