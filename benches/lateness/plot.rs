//! Draws arrivals over time as an SVG: a line for each contender, from one of its runs.

use std::fmt::Write as _;

/// The drawing, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
/// Room for the numbers at the axes, and for the legend on the right.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// Points of a line at most: more are not seen.
const POINTS: usize = 400;

/// Told apart by people with any colour vision (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#56b4e9", "#000000", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#999999"];

/// Times of the axis, in milliseconds. The axis is logarithmic: contenders differ by a factor of
/// 50.
const TICKS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// A contender's name and the lateness of its arrivals in milliseconds, ascending.
pub type Line<'a> = (&'a str, &'a [f64]);

/// Returns the drawing of how many of `size` requests have arrived after how long.
pub fn draw(size: usize, lines: &[Line<'_>]) -> String {
    let longest = lines.iter().filter_map(|(_, late)| late.last().copied()).fold(TICKS[1], f64::max);
    let x = |ms: f64| {
        let share = ms.max(TICKS[0]).ln() / longest.ln();
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let y = |count: usize| HEIGHT - BOTTOM - count as f64 / size as f64 * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{size} requests due at one instant: arrived at the server after</text>\n"
    );
    for tick in TICKS.into_iter().filter(|tick| *tick <= longest) {
        let (at, bottom) = (x(tick), HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick} ms</text>",
            bottom + 18.0
        );
    }
    for quarter in 0..=4 {
        let count = size * quarter / 4;
        let (at, right) = (y(count), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (number, (name, late)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let step = late.len().div_ceil(POINTS).max(1);
        let mut points = String::new();
        for (place, ms) in late.iter().enumerate() {
            if place % step == 0 || place + 1 == late.len() {
                let _ = write!(points, "{:.1},{:.1} ", x(*ms), y(place + 1));
            }
        }
        let (left, at) = (WIDTH - RIGHT + 16.0, TOP + 20.0 * number as f64 + 8.0);
        let last = late.last().map_or("nothing".to_owned(), |last| format!("{last:.0} ms"));
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <line x1=\"{left}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{name}: {last}</text>",
            points.trim_end(),
            left + 16.0,
            left + 22.0,
            at + 4.0
        );
    }
    svg + "</svg>\n"
}
