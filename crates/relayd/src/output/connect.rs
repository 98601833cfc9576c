//! From a target to an open connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rtmp::url::Scheme;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::error::OutputError;
use crate::{config::OutputConfig, egress::Egress, resolver::Resolver, stream::Stream};

/// Resolves, connects and, for RTMPS, shakes hands, within `connect_timeout` all told.
pub(super) async fn connect(
    output: &OutputConfig,
    tls: &Arc<rustls::ClientConfig>,
    egress: &Egress,
    resolver: &Resolver,
) -> Result<Stream, OutputError> {
    let timeout = output.connect_timeout;
    let deadline = Instant::now() + timeout;
    let attempt = async {
        let tcp = connect_tcp(output, egress, resolver, deadline).await?;
        tune(&tcp, output.write_timeout);
        match output.target.scheme {
            Scheme::Rtmp => Ok(Stream::Plain(tcp)),
            Scheme::Rtmps => {
                let host = output.target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host).map_err(|_| OutputError::ServerName)?;
                let tls = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(OutputError::Tls)?;
                Ok(Stream::Tls(Box::new(tls.into())))
            }
        }
    };
    timeout_at(deadline, attempt).await.map_err(|_| OutputError::ConnectTimeout(timeout))?
}

/// Resolves at each attempt (platforms move their ingests) and takes the first address that answers. Each address gets
/// its share of the time that is left: one that swallows everything leaves the next its chance.
async fn connect_tcp(
    output: &OutputConfig,
    egress: &Egress,
    resolver: &Resolver,
    deadline: Instant,
) -> Result<TcpStream, OutputError> {
    let host = output.target.host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout_at(deadline, resolver.resolve(host, output.target.port)).await;
    let found = found.map_err(|_| OutputError::NameServers(output.connect_timeout))?.map_err(OutputError::Dns)?;
    let addresses = egress.pass(found).map_err(OutputError::Egress)?;
    let mut last = OutputError::NoAddress;
    for (address, left) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left;
        match timeout_at(now + share, connect_from(*address, output)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = OutputError::Connect(error),
            Err(_) => last = OutputError::ConnectTimeout(output.connect_timeout),
        }
    }
    Err(last)
}

async fn connect_from(address: SocketAddr, output: &OutputConfig) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bind) = output.bind {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    socket.connect(address).await
}

/// None of these options is needed to relay, so a kernel that refuses one is no reason to fail.
fn tune(tcp: &TcpStream, write_timeout: Duration) {
    let socket = SockRef::from(tcp);
    // Writes are whole frames already; waiting for more would only delay them.
    let _ = socket.set_tcp_nodelay(true);
    // What a slow peer cannot take stays in the log, where it shows as lag and can still be skipped.
    let _ = socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL);
    // A peer that is gone without a word is noticed when its acknowledgements stay out.
    let _ = socket.set_tcp_user_timeout(Some(write_timeout));
}

/// Bytes that may wait in the kernel beyond what is in flight.
const UNSENT_IN_KERNEL: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{config::Config, tls::TlsConfigs};

    #[tokio::test]
    async fn name_servers_that_do_not_answer_are_told() {
        let text = "[[relay]]\nname = \"r\"\n[[relay.output]]\nid = \"1\"\nurl = \"rtmp://dead.test/live/key\"\n\
                    connect_timeout = \"100ms\"";
        let config = Config::load(&testkit::TempDir::new().write("relay.toml", text), &|_| None).unwrap();
        let silent = Resolver::new(Duration::MAX, |_| {
            loop {
                thread::park();
            }
        });
        let tls = TlsConfigs::load().native();
        let error = connect(&config.relays[0].outputs[0], &tls, &Egress::Trusted, &silent).await.err().unwrap();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            ("dns", "the name servers have not answered within 100ms")
        );
    }
}
