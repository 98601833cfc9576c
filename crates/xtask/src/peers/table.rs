//! Figures as markdown.

use super::measure::{Delay, Figures};

/// Rows under a head, each cell as it is.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.to_vec());
    text.push_str(&line(head.iter().map(|_| "---").collect()));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

impl Figures {
    pub(crate) const HEAD: [&str; 12] = [
        "CPU-s/GB",
        "cores",
        "RSS, MB",
        "video p50/p99, ms",
        "audio p50/p99, ms",
        "lost",
        "again",
        "reconnects",
        "live after, s",
        "sink, cores",
        "source, cores",
        "stood, s",
    ];

    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            format!("{:.2}", self.cpu_per_gb),
            format!("{:.3}", self.cores),
            format!("{:.1}", self.rss_mb),
            self.video.cell(),
            self.audio.cell(),
            format!("{:.0}", self.lost),
            format!("{:.0}", self.again),
            format!("{:.0}", self.reconnects),
            format!("{:.2}", self.live_after),
            format!("{:.3}", self.sink_cores),
            format!("{:.3}", self.source_cores),
            format!("{:.1}", self.stood),
        ]
    }

    pub(crate) const RATIO_HEAD: [&str; 6] = ["CPU-s/GB", "RSS", "video p50", "video p99", "audio p50", "audio p99"];

    /// Each figure divided by that of `base`.
    pub(crate) fn ratios(&self, base: &Self) -> Vec<String> {
        let pick = |f: &Self| [f.cpu_per_gb, f.rss_mb, f.video.p50, f.video.p99, f.audio.p50, f.audio.p99];
        pick(self).iter().zip(pick(base)).map(|(own, base)| format!("{:.2}", own / base)).collect()
    }

    /// The median of each figure by itself, but what is lost, comes again, reconnects, stands or is skipped at its worst:
    /// a median would hide it.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let median = |pick: fn(&Self) -> f64| median(runs.iter().map(pick).collect());
        let worst = |pick: fn(&Self) -> f64| runs.iter().map(pick).fold(0.0, f64::max);
        Self {
            cpu_per_gb: median(|f| f.cpu_per_gb),
            cores: median(|f| f.cores),
            rss_mb: median(|f| f.rss_mb),
            video: Delay { p50: median(|f| f.video.p50), p99: median(|f| f.video.p99) },
            audio: Delay { p50: median(|f| f.audio.p50), p99: median(|f| f.audio.p99) },
            lost: worst(|f| f.lost),
            again: worst(|f| f.again),
            reconnects: worst(|f| f.reconnects),
            live_after: median(|f| f.live_after),
            sink_cores: median(|f| f.sink_cores),
            source_cores: median(|f| f.source_cores),
            stood: worst(|f| f.stood),
            skipped: runs.iter().filter_map(|f| f.skipped).reduce(f64::max),
        }
    }
}

impl Delay {
    fn cell(self) -> String {
        format!("{:.1} / {:.1}", self.p50, self.p99)
    }
}

/// The middle value, or the mean of the two in the middle; NaN without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        let run = |cpu_per_gb, lost| Figures { cpu_per_gb, lost, ..Figures::default() };
        let middle = Figures::median(&[run(1.0, 9.0), run(2.0, 0.0), run(7.0, 3.0)]);
        assert_eq!((middle.cpu_per_gb, middle.lost), (2.0, 9.0));
    }

    #[test]
    fn a_table_has_a_cell_for_every_head() {
        let figures =
            Figures { cpu_per_gb: 2.0, rss_mb: 9.0, video: Delay { p50: 1.0, p99: 4.0 }, ..Figures::default() };
        assert_eq!(figures.cells().len(), Figures::HEAD.len());
        let base = Figures { cpu_per_gb: 1.0, rss_mb: 6.0, video: Delay { p50: 2.0, p99: 1.0 }, ..Figures::default() };
        let ratios = figures.ratios(&base);
        assert_eq!(ratios.len(), Figures::RATIO_HEAD.len());
        assert_eq!(ratios[..4], ["2.00", "1.50", "0.50", "4.00"]);
        let text = table(&["a", "b"], &[vec!["1".to_owned(), "2".to_owned()]]);
        assert_eq!(text, "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
    }
}
