//! Relays that are fed what they send: by an output to relayd's own ingest, or an input from its own `/live`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rtmp::url::{Scheme, Target, without_query};

use super::{Config, InputSource, MediaUrl, VodItem};

impl Config {
    /// What is allowed and hardly meant, one line each, without secrets.
    pub fn warnings(&self) -> Vec<String> {
        let told = |cycle: &[usize]| {
            let names: Vec<_> = cycle.iter().map(|&relay| &*self.relays[relay].name).collect();
            let (first, others) = names.split_first()?;
            let way = if others.is_empty() { String::new() } else { format!(" by way of {}", others.join(", ")) };
            let path = self.path.display();
            Some(format!(
                "{path}: what relay {first} sends comes back to an input of its own{way}: whatever feeds from there is the \
                 relay's own past, or nothing"
            ))
        };
        let cycles = cycles(&self.readers());
        let mut warnings: Vec<_> = cycles.iter().take(TOLD).filter_map(|cycle| told(cycle)).collect();
        if cycles.len() > TOLD {
            warnings.push(format!(
                "{}: {} more relays or chains of them like these",
                self.path.display(),
                cycles.len() - TOLD
            ));
        }
        warnings
    }

    /// For each relay those that are fed by it, each once.
    fn readers(&self) -> Vec<Vec<usize>> {
        let (mut by_key, mut by_name) = (HashMap::new(), HashMap::new());
        for (at, relay) in self.relays.iter().enumerate() {
            by_name.insert(&*relay.name, at);
            for input in &relay.inputs {
                if let InputSource::Push(push) = &input.source {
                    by_key.insert(push.key.expose().as_bytes(), at);
                }
            }
        }
        let mut readers = vec![Vec::new(); self.relays.len()];
        for (at, relay) in self.relays.iter().enumerate() {
            let published = relay.outputs.iter().filter(|it| it.enabled).filter_map(|it| self.key_here(&it.target));
            readers[at].extend(published.filter_map(|key| by_key.get(&*key)));
            let urls = relay.inputs.iter().flat_map(|input| urls(&input.source));
            for watched in urls.filter_map(|url| by_name.get(&*self.live_here(url)?).copied()) {
                readers[watched].push(at);
            }
        }
        for readers in &mut readers {
            readers.sort_unstable();
            readers.dedup();
        }
        readers
    }

    /// The `app/stream` that is published to, if the server is relayd's own.
    fn key_here(&self, target: &Target) -> Option<Vec<u8>> {
        let ingest = self.ingest.as_ref()?;
        let listen = match target.scheme {
            Scheme::Rtmp => ingest.listen,
            Scheme::Rtmps => ingest.tls.as_ref()?.listen,
        };
        let key = [without_query(&target.app), without_query(target.key.as_bytes())].join(&b'/');
        is_reached(listen, &target.host, target.port).then_some(key)
    }

    /// The relay that is watched, if the server is relayd's own.
    fn live_here(&self, url: &MediaUrl) -> Option<String> {
        let listen = self.admin.as_ref()?.listen;
        let url = url::Url::parse(url.expose()).ok().filter(|url| url.scheme() == "http")?;
        let host = url.host_str()?.trim_matches(['[', ']']);
        let name = url.path().strip_prefix("/live/")?.strip_suffix(".flv")?;
        is_reached(listen, host, url.port_or_known_default()?).then(|| name.to_owned())
    }
}

/// What an input requests over HTTP.
fn urls(source: &InputSource) -> Vec<&MediaUrl> {
    match source {
        InputSource::Pull(pull) => vec![&pull.url],
        InputSource::Push(_) => Vec::new(),
        InputSource::Vod(vod) => {
            let urls = vod.items.iter().filter_map(|item| match item {
                VodItem::Http(url) => Some(url),
                VodItem::File(_) => None,
            });
            urls.collect()
        }
    }
}

/// Whether who connects there surely reaches this listener. No name is asked for, and no interface.
fn is_reached(listen: SocketAddr, host: &str, port: u16) -> bool {
    let own = listen.ip().to_canonical();
    let is_loopback_here = own.is_loopback() || own.is_unspecified();
    let is_here = match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => {
            // An IPv4 wildcard takes no IPv6; the other way round it is the system's default.
            let takes = own.is_unspecified() && (own.is_ipv6() || address.is_ipv4());
            address == own || (takes && address.is_loopback())
        }
        Err(_) => host.eq_ignore_ascii_case("localhost") && is_loopback_here,
    };
    // Port 0 is one that only the system knows.
    is_here && port == listen.port() && port != 0
}

/// Cycles that are told each.
const TOLD: usize = 10;

/// Cycles of a graph, at least one in each part that has any, and never the same twice. Without recursion: a chain may be
/// as long as the configuration.
fn cycles(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::Not; successors.len()];
    let mut found = Vec::new();
    for start in 0..successors.len() {
        // Each node of the path with how many of its successors were followed.
        let mut path = match seen[start] {
            Seen::Not => vec![(start, 0)],
            _ => continue,
        };
        seen[start] = Seen::OnPath;
        while let Some((node, followed)) = path.last_mut() {
            let Some(&next) = successors[*node].get(*followed) else {
                seen[*node] = Seen::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match seen[next] {
                Seen::Not => {
                    seen[next] = Seen::OnPath;
                    path.push((next, 0));
                }
                Seen::OnPath => {
                    let cycle = path.iter().map(|&(node, _)| node).skip_while(|&node| node != next);
                    found.push(cycle.collect());
                }
                Seen::Done => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_may_be_as_long_as_the_file() {
        const RELAYS: usize = 100_000;
        let mut chain: Vec<_> = (0..RELAYS).map(|at| vec![at + 1]).collect();
        chain.push(Vec::new());
        assert!(cycles(&chain).is_empty());
        chain[RELAYS].push(0);
        assert_eq!(cycles(&chain), [(0..=RELAYS).collect::<Vec<_>>()]);
    }
}
