//! Results as a picture: one bar a row, as a share of its target, so that all rows have one scale.
//!
//! Plain SVG, readable on light and on dark pages.

use std::fmt::Write as _;

use crate::bench::{
    results::{Measured, Results},
    rows::{Row, Target},
    table::{figure, runs, target},
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 24.0;
const TOP: f64 = 116.0;
const ROW: f64 = 52.0;
/// Where bars begin, and how long one that just meets its target is.
const BARS: f64 = 384.0;
const UNIT: f64 = 100.0;
/// The longest bar, in targets; what is longer ends in an arrow.
const LONGEST: f64 = 4.8;

const STYLE: &str = "
    svg { color-scheme: light dark; font-family: system-ui, -apple-system, 'Segoe UI', sans-serif }
    .ink { fill: #1c2420 } .soft { fill: #5c6862 } .line { stroke: #1c2420 } .grid { stroke: #d9ded9 }
    .card { fill: #fbfaf6 } .met { fill: #1f8a5b } .over { fill: #c9772b } .other { fill: #b9c2bd }
    @media (prefers-color-scheme: dark) {
      .ink { fill: #e8eee9 } .soft { fill: #9aa8a0 } .line { stroke: #e8eee9 } .grid { stroke: #2f3a35 }
      .card { fill: #12171a } .met { fill: #3fbf86 } .over { fill: #e79a4f } .other { fill: #55625b }
    }
    .title { font-size: 20px; font-weight: 600 } .label { font-size: 14px } .small { font-size: 12px }
    .value { font-size: 13px; font-weight: 600; font-variant-numeric: tabular-nums }
";

/// Draws the results.
pub(crate) fn chart(results: &Results) -> String {
    let rows: Vec<_> = results
        .rows
        .iter()
        .filter_map(|measured| Some((measured, measured.row()?)))
        .collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 84.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Gatebus benchmark: each row as a share of its target\">\n<style>{STYLE}</style>\n\
         <rect class=\"card\" width=\"{WIDTH}\" height=\"{height}\" rx=\"12\"/>\n"
    );
    text(
        &mut out,
        LEFT,
        36.0,
        "title ink",
        "Gatebus: what it costs, against its targets",
    );
    let how = "Shorter is better. A bar that ends at the line just meets its target.";
    text(&mut out, LEFT, 60.0, "small soft", how);
    legend(&mut out);
    for mark in [0.0, 2.0, 3.0, 4.0] {
        upright(&mut out, "grid", BARS + UNIT * mark, TOP - 6.0, bottom);
    }
    for (at, (measured, row)) in rows.into_iter().enumerate() {
        draw(&mut out, TOP + ROW * at as f64, measured, row);
    }
    upright(&mut out, "line", BARS + UNIT, TOP - 6.0, bottom);
    anchored(
        &mut out,
        BARS + UNIT,
        TOP - 12.0,
        "middle",
        "small ink",
        "target",
    );
    let quick = if results.quick {
        "; a quick run, whose figures mean little"
    } else {
        ""
    };
    let foot = format!(
        "Median of {}; commit {}; {}{quick}.",
        runs(results.runs),
        results.commit,
        results.machine
    );
    text(&mut out, LEFT, bottom + 28.0, "small soft", &foot);
    let limit = "The limit is one thread, one epoll and raw sockets, without a bus, measured in the same run.";
    text(&mut out, LEFT, bottom + 46.0, "small soft", limit);
    let peer = "GatewayWorker 4 (PHP 8.2, event, JIT) was measured once, beside the limit of that machine.";
    text(&mut out, LEFT, bottom + 64.0, "small soft", peer);
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String) {
    let mut x = LEFT;
    for (class, name, wide) in [
        ("met", "Gatebus, target met", 160.0),
        ("over", "Gatebus, target missed", 176.0),
        ("other", "GatewayWorker 4", 0.0),
    ] {
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"76\" width=\"14\" height=\"10\" rx=\"2\"/>"
        );
        text(out, x + 20.0, 85.0, "small soft", name);
        x += wide;
    }
}

fn draw(out: &mut String, top: f64, measured: &Measured, row: &Row) {
    text(out, LEFT, top + 19.0, "label ink", row.title);
    text(out, LEFT, top + 36.0, "small soft", row.detail);
    let aim = target(measured, row.target);
    anchored(out, BARS - 14.0, top + 19.0, "end", "small soft", &aim);
    let class = if measured.of_target <= 1.0 {
        "met"
    } else {
        "over"
    };
    let end = bar(out, top + 6.0, 18.0, class, measured.of_target);
    let value = match (row.target, measured.ratio) {
        (Target::TimesLimit(_), Some(ratio)) => {
            format!(
                "{ratio:.2} × limit ({})",
                figure(measured.gatebus, &measured.unit)
            )
        }
        _ => figure(measured.gatebus, &measured.unit),
    };
    text(out, end + 8.0, top + 20.0, "value ink", &value);
    if let Some(peer) = row.gateway_worker {
        let (Target::TimesLimit(aim) | Target::AtMost(aim)) = row.target;
        let end = bar(out, top + 28.0, 8.0, "other", peer / aim);
        let value = match row.target {
            Target::TimesLimit(_) => format!("{peer} × limit"),
            Target::AtMost(_) => figure(peer, &measured.unit),
        };
        text(out, end + 8.0, top + 36.0, "small soft", &value);
    }
}

/// Draws a bar and returns where it ends.
fn bar(out: &mut String, y: f64, height: f64, class: &str, share: f64) -> f64 {
    let drawn = share.clamp(0.0, LONGEST);
    let end = BARS + UNIT * drawn;
    let (tip, middle, low) = (end, y + height / 2.0, y + height);
    // A bar that goes on ends in a point.
    let edge = if share > LONGEST {
        end - height / 2.0
    } else {
        end
    };
    let _ = writeln!(
        out,
        "<path class=\"{class}\" d=\"M{BARS} {y}H{edge:.1}L{tip:.1} {middle}L{edge:.1} {low}H{BARS}Z\"/>"
    );
    end
}

fn upright(out: &mut String, class: &str, x: f64, from: f64, to: f64) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{from}\" y2=\"{to}\"/>"
    );
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    anchored(out, x, y, "start", class, words);
}

/// Words that begin at, end at or lie around a place.
fn anchored(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
