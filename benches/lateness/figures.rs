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
}

/// Of all runs together.
pub struct Figures {
    arrived: usize,
    expected: usize,
    p50: f64,
    pub p99: f64,
    max: f64,
    /// The median of the runs' rates, in requests a second.
    pub rate: f64,
}

impl Figures {
    /// `expected` is of each run.
    pub fn of(runs: &[Run], expected: usize) -> Figures {
        let mut late: Vec<f64> = runs.iter().flat_map(|run| &run.late).copied().collect();
        late.sort_by(f64::total_cmp);
        let mut rates: Vec<f64> = runs.iter().filter_map(Run::rate).collect();
        rates.sort_by(f64::total_cmp);
        Figures {
            arrived: late.len(),
            expected: expected * runs.len(),
            p50: quantile(&late, 0.5),
            p99: quantile(&late, 0.99),
            max: quantile(&late, 1.0),
            rate: quantile(&rates, 0.5),
        }
    }

    /// A line of the table under [`heading`].
    pub fn print(&self, name: &str, ours: Option<&Figures>) {
        let arrived = format!("{}/{}", self.arrived, self.expected);
        let rate = if self.rate.is_nan() { "-".to_owned() } else { format!("{:.0}", self.rate) };
        print!("{name:<28} {arrived:>13} {:>9.2} {:>9.2} {:>9.2} {rate:>10}", self.p50, self.p99, self.max);
        match ours {
            Some(ours) => println!(" {:>8.1} {:>8.1}", self.p50 / ours.p50, self.p99 / ours.p99),
            None => println!(),
        }
    }
}

pub fn heading(what: &str) {
    println!(
        "\n{what:<28} {:>13} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}",
        "arrived", "p50", "p99", "max", "requests/s", "p50/ours", "p99/ours"
    );
}

/// Of ascending numbers; not a number when there are none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
