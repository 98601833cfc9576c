//! Delays, counted in buckets.

/// Counts of values in µs. A bucket is at most 1/32 of its value wide.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Grown to the largest value met.
    counts: Vec<u32>,
}

impl Histogram {
    pub(crate) fn add(&mut self, micros: u64) {
        let bucket = bucket(micros);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// The smallest value in µs that at least the share `quantile` of all values does not exceed, to the width of a
    /// bucket; None without values.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            below += u64::from(count);
            if below >= rank {
                let (low, high) = bounds(bucket);
                return Some((low + high - 1) as f64 / 2.0);
            }
        }
        None
    }
}

/// Values below 2 × [`STEPS`] have a bucket each; every doubling after that has [`STEPS`] buckets.
fn bucket(micros: u64) -> usize {
    let octave = (micros / (2 * STEPS)).checked_ilog2().map_or(0, |log| u64::from(log) + 1);
    (octave * STEPS + (micros >> octave)) as usize
}

/// The values of a bucket, from and to, the latter not included.
fn bounds(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    let octave = (bucket / STEPS).saturating_sub(1);
    let low = (bucket - octave * STEPS) << octave;
    (low, low + (1 << octave))
}

const STEPS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_follow_one_another() {
        for value in (0..100_000).chain([1 << 32, (1 << 40) - 1]) {
            let (low, high) = bounds(bucket(value));
            assert!((low..high).contains(&value), "{value} in {low}..{high}");
            assert!((high - low) * STEPS <= low.max(STEPS), "{low}..{high} is narrow");
        }
        for bucket in 0..1000 {
            assert_eq!(bounds(bucket).1, bounds(bucket + 1).0);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for value in 1..=60 {
            histogram.add(value);
        }
        assert_eq!(histogram.quantile(0.5), Some(30.0));
        assert_eq!(histogram.quantile(0.99), Some(60.0));
        assert_eq!(histogram.quantile(0.0), Some(1.0));

        let mut late = Histogram::default();
        for _ in 0..60 {
            late.add(1_000_000);
        }
        late.merge(&histogram);
        let (median, p99) = (late.quantile(0.5).unwrap(), late.quantile(0.99).unwrap());
        assert_eq!(median, 60.0);
        assert!((p99 - 1e6).abs() <= 1e6 / 32.0, "{p99}");
    }
}
