//! What came of a contender's runs, in numbers.

/// One run: how late each request arrived, in milliseconds, ascending with one instant for all.
pub struct Run {
    pub late: Vec<f64>,
}

impl Run {
    /// Arrivals a second, from the first to the last. `None` where they are too few to tell.
    fn rate(&self) -> Option<f64> {
        let span = self.late.last()? - self.late.first()?;
        (self.late.len() >= 100 && span > 0.0).then(|| self.late.len() as f64 / span * 1e3)
    }

    /// Lateness of the last arrival; not a number where nothing arrived.
    pub fn last(&self) -> f64 {
        self.late.iter().copied().max_by(f64::total_cmp).unwrap_or(f64::NAN)
    }
}

/// Of all runs together.
pub struct Figures {
    arrived: usize,
    expected: usize,
    p50: f64,
    pub p99: f64,
    max: f64,
    /// Median over the runs of the last arrival.
    pub last: f64,
    /// The median of the runs' rates, in requests a second.
    rate: f64,
}

impl Figures {
    /// `expected` is of each run.
    pub fn of(runs: &[Run], expected: usize) -> Figures {
        let mut late: Vec<f64> = runs.iter().flat_map(|run| &run.late).copied().collect();
        late.sort_by(f64::total_cmp);
        Figures {
            arrived: late.len(),
            expected: expected * runs.len(),
            p50: quantile(&late, 0.5),
            p99: quantile(&late, 0.99),
            max: quantile(&late, 1.0),
            last: median(runs.iter().map(Run::last).collect()),
            rate: median(runs.iter().filter_map(Run::rate).collect()),
        }
    }

    /// A line of the table under [`heading`].
    pub fn print(&self, name: &str) {
        let arrived = format!("{}/{}", self.arrived, self.expected);
        let rate = if self.rate.is_nan() { "-".to_owned() } else { format!("{:.0}", self.rate) };
        println!(
            "{name:<28} {arrived:>13} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {rate:>10}",
            self.p50, self.p99, self.last, self.max
        );
    }

    /// Share of the requests that never arrived, in words. Empty where all did.
    pub fn lost(&self) -> String {
        match self.expected.saturating_sub(self.arrived) {
            0 => String::new(),
            lost => format!(", {:.0} % lost", lost as f64 / self.expected as f64 * 100.0),
        }
    }
}

pub fn heading(what: &str) {
    println!(
        "\n{what:<28} {:>13} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "arrived", "p50", "p99", "last", "max", "requests/s"
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Of ascending numbers; not a number when there are none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
