//! What one benchmark found; it is kept as JSON and can be compared with an earlier one.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::{
    measure::Sample,
    rows::{ROWS, Row, Target},
};

#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    /// Seconds since 1970.
    pub(crate) taken: u64,
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) runs: u16,
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Measured>,
}

/// One row's medians.
#[derive(Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) key: String,
    pub(crate) unit: String,
    pub(crate) limit: Option<f64>,
    pub(crate) gatebus: f64,
    /// Gatebus over limit.
    pub(crate) ratio: Option<f64>,
    /// What the target speaks of (the ratio, or the figure itself), as a share of the target: 1 is just met.
    pub(crate) of_target: f64,
    /// The figure of each process.
    pub(crate) processes: BTreeMap<String, f64>,
    /// Every single sample.
    pub(crate) limit_samples: Vec<f64>,
    pub(crate) gatebus_samples: Vec<f64>,
    /// Messages or connections lost, and messages out of order, over all samples.
    pub(crate) lost: u64,
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} holds no results of this benchmark", path.display()))
    }
}

impl Measured {
    pub(crate) fn new(row: &Row, limit: &[Sample], gatebus: &[Sample]) -> Self {
        let values = |samples: &[Sample]| {
            samples
                .iter()
                .map(|sample| sample.value)
                .collect::<Vec<_>>()
        };
        let (limit_samples, gatebus_samples) = (values(limit), values(gatebus));
        let value = median(&gatebus_samples);
        let limit_value = row.has_limit.then(|| median(&limit_samples));
        let ratio = limit_value.map(|limit| value / limit);
        let of_target = match row.target {
            Target::TimesLimit(times) => ratio.unwrap_or(f64::NAN) / times,
            Target::AtMost(most) => value / most,
        };
        let names = gatebus.iter().flat_map(|sample| sample.processes.keys());
        let processes = names
            .map(|name| {
                let each: Vec<_> = gatebus
                    .iter()
                    .filter_map(|sample| sample.processes.get(name).copied())
                    .collect();
                (name.clone(), median(&each))
            })
            .collect();
        Self {
            key: row.key.to_owned(),
            unit: row.figure.unit().to_owned(),
            limit: limit_value,
            gatebus: value,
            ratio,
            of_target,
            processes,
            limit_samples,
            gatebus_samples,
            lost: limit.iter().chain(gatebus).map(|sample| sample.lost).sum(),
        }
    }

    /// The row that was measured.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.key == self.key)
    }

    /// What is compared from run to run: the ratio where there is one.
    pub(crate) fn comparable(&self) -> f64 {
        self.ratio.unwrap_or(self.gatebus)
    }
}

/// The middle value; the mean of both middle ones where the count is even.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            value,
            processes: BTreeMap::from([("gateway".to_owned(), value)]),
            lost: 1,
        }
    }

    #[test]
    fn the_median_ignores_what_lies_far_out() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 90.0]), 2.5);
    }

    #[test]
    fn a_row_is_held_against_the_limit_of_its_own_run() {
        let row = ROWS
            .iter()
            .find(|row| row.target == Target::TimesLimit(2.2))
            .unwrap();
        let measured = Measured::new(row, &[sample(2.0), sample(2.0)], &[sample(4.4)]);
        assert_eq!(measured.ratio, Some(2.2));
        assert!((measured.of_target - 1.0).abs() < 1e-9);
        assert_eq!(measured.lost, 3);
        assert_eq!(measured.processes["gateway"], 4.4);
    }
}
