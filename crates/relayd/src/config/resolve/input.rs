//! `[[relay.input]]`

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use relay::RetryPolicy;
use reqwest::header::{HeaderName, HeaderValue};
use toml::Spanned;

use super::Resolver;
use super::checks::{HOUR, TICK};
use crate::config::raw::{RawInput, RawRetry};
use crate::config::units::{InputType, Size, Text};
use crate::config::{
    CONNECT_TIMEOUT, InputConfig, InputSource, Loops, MediaUrl, PullConfig, Secret, VodConfig, VodItem,
};

impl Resolver<'_> {
    /// `None` when it has a problem that leaves it without a source.
    pub(super) fn input(&mut self, raw: Spanned<RawInput>) -> Option<InputConfig> {
        let table = raw.span();
        let raw = raw.into_inner();
        let kind = raw.r#type.as_ref().map_or(InputType::Pull, |kind| kind.get_ref().0);
        self.refuse_keys_of_other_types(&raw, kind);
        let name = self.label(raw.name.clone());
        let source = match kind {
            InputType::Push => InputSource::Push(self.push(raw, &table)?),
            InputType::Pull => InputSource::Pull(self.pull(raw, table)?),
            InputType::Vod => InputSource::Vod(self.vod(raw, table)?),
        };
        Some(InputConfig { name, source })
    }

    fn refuse_keys_of_other_types(&mut self, raw: &RawInput, kind: InputType) {
        let (kind, allowed) = match kind {
            InputType::Pull => ("pull", ["url", "headers", "connect_timeout", "max_tag_size", "retry"].as_slice()),
            InputType::Push => ("push", ["key", "auth", "on_duplicate", "replace_after", "idle_timeout"].as_slice()),
            InputType::Vod => ("vod", ["urls", "loops", "connect_timeout", "max_tag_size", "retry"].as_slice()),
        };
        let given = [
            ("url", raw.url.as_ref().map(Spanned::span)),
            ("headers", raw.headers.as_ref().map(Spanned::span)),
            ("key", raw.key.as_ref().map(Spanned::span)),
            ("auth", raw.auth.as_ref().map(Spanned::span)),
            ("on_duplicate", raw.on_duplicate.as_ref().map(Spanned::span)),
            ("replace_after", raw.replace_after.as_ref().map(Spanned::span)),
            ("idle_timeout", raw.idle_timeout.as_ref().map(Spanned::span)),
            ("urls", raw.urls.as_ref().map(Spanned::span)),
            ("loops", raw.loops.as_ref().map(Spanned::span)),
            ("connect_timeout", raw.connect_timeout.as_ref().map(Spanned::span)),
            ("max_tag_size", raw.max_tag_size.as_ref().map(Spanned::span)),
            ("retry", raw.retry.as_ref().map(Spanned::span)),
        ];
        for (key, span) in given {
            if let Some(span) = span.filter(|_| !allowed.contains(&key)) {
                let allowed = allowed.join(", ");
                self.fail(span, format!("not a key of a {kind} input; allowed: name, type, {allowed}"));
            }
        }
    }

    fn pull(&mut self, raw: RawInput, table: Range<usize>) -> Option<PullConfig> {
        let Some(url) = raw.url else {
            self.fail_missing(table, "url", "a pull input needs it: an http:// or https:// URL");
            return None;
        };
        let url = self.media_url(url);
        let headers = self.headers(raw.headers.map(Spanned::into_inner).unwrap_or_default());
        Some(PullConfig {
            headers,
            connect_timeout: self.within(raw.connect_timeout, CONNECT_TIMEOUT, TICK..=HOUR),
            max_tag_size: self.max_tag_size(raw.max_tag_size),
            retry: self.input_retry(raw.retry),
            url: url?,
        })
    }

    fn vod(&mut self, raw: RawInput, table: Range<usize>) -> Option<VodConfig> {
        let Some(urls) = raw.urls.filter(|urls| !urls.get_ref().is_empty()) else {
            self.fail_missing(table, "urls", "a vod input needs at least one \"file:…\", http:// or https:// URL");
            return None;
        };
        let loops = match raw.loops.as_ref().map(|loops| (*loops.get_ref(), loops.span())) {
            None | Some((-1, _)) => Loops::Forever,
            Some((n, span)) => Loops::Times(u64::try_from(n).unwrap_or_else(|_| {
                self.fail(span, "out of range; allowed: -1 (for ever), 0 (once), n (n more times)");
                0
            })),
        };
        Some(VodConfig {
            items: urls.into_inner().into_iter().filter_map(|url| self.vod_item(url)).collect(),
            loops,
            connect_timeout: self.within(raw.connect_timeout, CONNECT_TIMEOUT, TICK..=HOUR),
            max_tag_size: self.max_tag_size(raw.max_tag_size),
            retry: self.input_retry(raw.retry),
        })
    }

    /// `file:path`, `file:/path` and `file:///path`; the path is taken as written.
    fn vod_item(&mut self, url: Spanned<String>) -> Option<VodItem> {
        let Some(file) = url.get_ref().strip_prefix("file:") else {
            return self.media_url(url).map(VodItem::Http);
        };
        let path = file.strip_prefix("//").unwrap_or(file);
        let has_host = path.len() < file.len() && !path.starts_with('/');
        if path.is_empty() || path.contains('\0') || has_host {
            self.fail(url.span(), "not a file; allowed: \"file:a.flv\", \"file:../a.flv\", \"file:///srv/a.flv\"");
            return None;
        }
        Some(VodItem::File(self.folder.join(PathBuf::from(path))))
    }

    fn media_url(&mut self, url: Spanned<String>) -> Option<MediaUrl> {
        let span = url.span();
        MediaUrl::parse(url.into_inner()).map_err(|error| self.fail(span, error.to_string())).ok()
    }

    fn headers(&mut self, raw: BTreeMap<Spanned<String>, Spanned<String>>) -> Vec<(String, Secret)> {
        for (name, value) in &raw {
            if HeaderName::from_bytes(name.get_ref().as_bytes()).is_err() {
                self.fail(name.span(), "not the name of a header; allowed: letters, digits, \"-\", \"_\"");
            }
            if HeaderValue::from_str(value.get_ref()).is_err() {
                self.fail(value.span(), "not the value of a header; allowed: visible ASCII and spaces");
            }
        }
        raw.into_iter().map(|(name, value)| (name.into_inner(), Secret::from(value.into_inner()))).collect()
    }

    /// FLV spec v10.1, E.4.1: the size of a tag has 24 bits.
    fn max_tag_size(&mut self, value: Option<Spanned<Text<Size>>>) -> u32 {
        let size = self.size(value, 8 << 20, Size::kib(1)..=Size::kib((16 << 10) - 1));
        u32::try_from(size).unwrap_or(u32::MAX)
    }

    fn input_retry(&mut self, raw: Option<Spanned<RawRetry>>) -> RetryPolicy {
        if let Some(never) = raw.as_ref().and_then(|retry| retry.get_ref().give_up_after.as_ref()) {
            self.fail(never.span(), "an input never gives up; allowed: min, max");
        }
        self.retry(raw, RetryPolicy::INPUT)
    }
}
