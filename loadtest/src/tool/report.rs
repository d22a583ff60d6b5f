//! Report: what was measured, as one page of HTML that needs nothing else.

use std::fmt::Write;

use plotters::prelude::*;

use super::compare::Measured;
use super::course::{Course, Outcome};
use super::play::Played;
use super::ramp::Ramp;
use super::table::Row;

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (760, 340);
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;\
padding:0 1em;color:#1a1a1a;background:#fff}table{border-collapse:collapse;margin:1em 0}\
td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}.missed{color:#b00020;font-weight:bold}\
svg{max-width:100%;height:auto}";

/// Lines over one axis.
struct Plot {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    lines: Vec<Line>,
}

/// A name and its points.
type Line = (String, Vec<(f64, f64)>);

/// The page of a comparison.
pub(crate) fn of_comparison(measured: &Measured) -> String {
    let mut page = begin("Sotto and rtpengine under the same load");
    page.push_str(&rows(&measured.rows));
    let ramps: Vec<(&str, &Ramp)> =
        measured.ramps.iter().map(|(relay, ramp)| (relay.as_str(), ramp)).collect();
    page.push_str(&of_ramps(&ramps));
    let flips = measured.flips.iter().enumerate();
    let [p50, p99] = [0, 1].map(|at| {
        flips.clone().map(|(load, it)| (load as f64, it.took_ms[at])).collect::<Vec<_>>()
    });
    page.push_str(&svg(&Plot {
        title: "A flip, from request to receipt",
        x: "load: 20,000 packets a second, then the highest",
        y: "ms",
        lines: vec![("p50".to_owned(), p50), ("p99".to_owned(), p99)],
    }));
    end(page)
}

/// The page of calls that were held.
pub(crate) fn of_hold(relay: &str, course: &Course, outcome: &Outcome) -> String {
    let page = begin(&format!("{relay}: {course}"));
    end(page + &format!("<p>{}</p>", escaped(&outcome.to_string())))
}

/// The page of ramps.
pub(crate) fn of_ramp(relay: &str, ramp: &Ramp) -> String {
    let mut page = begin(&format!("{relay}: {} calls held", ramp.held));
    page.push_str(&of_ramps(&[(relay, ramp)]));
    end(page)
}

/// The page of a scenario.
pub(crate) fn of_play(played: &Played) -> String {
    let mut page = begin("A scenario on Sotto");
    let [p50, p99, longest] = played.flips_ms;
    let facts = [
        ("calls", played.calls.to_string()),
        ("sessions passed", played.passed.to_string()),
        ("sessions failed", played.failed.values().sum::<usize>().to_string()),
        ("hung up while keying", played.hung_up.to_string()),
        ("octets leaked in a cut", played.leaked.to_string()),
        ("packets lost, of those on open calls", format!("{} of {}", played.lost, played.sent)),
        ("packets reordered", played.reordered.to_string()),
        ("flip, p50 / p99 / longest", format!("{p50:.2} / {p99:.2} / {longest:.2} ms")),
    ];
    page.push_str("<table>");
    for (name, value) in facts {
        let _ = write!(page, "<tr><td>{name}</td><td>{}</td></tr>", escaped(&value));
    }
    page.push_str("</table>");
    let over = |value: fn(&super::play::Sample) -> f64| -> Vec<(f64, f64)> {
        played.samples.iter().map(|sample| (sample.at, value(sample))).collect()
    };
    let latency = vec![
        ("p50".to_owned(), over(|it| it.latency_ms[0])),
        ("p99".to_owned(), over(|it| it.latency_ms[1])),
        ("p99.9".to_owned(), over(|it| it.latency_ms[2])),
        ("lateness of the generator, p99".to_owned(), over(|it| it.lateness_ms)),
    ];
    let seconds = "seconds";
    let calls = vec![("calls".to_owned(), over(|it| it.calls as f64))];
    let share = vec![("relay".to_owned(), over(|it| it.share))];
    page.push_str(&svg(&Plot { title: "Latency", x: seconds, y: "ms", lines: latency }));
    page.push_str(&svg(&Plot { title: "Calls", x: seconds, y: "calls", lines: calls }));
    page.push_str(&svg(&Plot { title: "Processor", x: seconds, y: "cores", lines: share }));
    end(page)
}

fn of_ramps(ramps: &[(&str, &Ramp)]) -> String {
    let over = |value: fn(&super::ramp::Step) -> f64| -> Vec<Line> {
        let line = |(relay, ramp): &(&str, &Ramp)| {
            let points = ramp.steps.iter().map(|step| (step.calls as f64, value(step)));
            ((*relay).to_owned(), points.collect())
        };
        ramps.iter().map(line).collect()
    };
    let plots = [
        ("Latency at the median", "ms", over(|step| step.latency_ms[0])),
        ("Latency at the 99th percentile", "ms", over(|step| step.latency_ms[1])),
        ("Latency at the 99.9th percentile", "ms", over(|step| step.latency_ms[2])),
        ("Processor of the relay", "cores", over(|step| step.share)),
        ("Packets lost", "share", over(|step| step.loss)),
    ];
    plots.into_iter().map(|(title, y, lines)| svg(&Plot { title, x: "calls", y, lines })).collect()
}

fn rows(rows: &[Row]) -> String {
    let mut table = "<table><tr><th></th><th>Sotto</th><th>against</th><th>figure</th>\
                     <th>bar</th><th></th></tr>"
        .to_owned();
    for row in rows {
        let theirs = row.theirs.map_or_else(String::new, |theirs| format!("{theirs:.2}"));
        let (class, verdict) = if row.is_met() { ("met", "met") } else { ("missed", "missed") };
        let _ = write!(
            table,
            "<tr><td>{}</td><td>{:.2}</td><td>{theirs}</td><td>{:.2}</td><td>{}</td>\
             <td class=\"{class}\">{verdict}</td></tr>",
            escaped(&row.what),
            row.ours,
            row.figure,
            escaped(&row.bar.to_string()),
        );
    }
    table + "</table>"
}

/// A plot as SVG; a sentence instead where there is nothing to show.
fn svg(plot: &Plot) -> String {
    let mut svg = String::new();
    let drawn = draw(plot, &mut svg);
    drawn.map_or_else(|_| format!("<p>{}: nothing was measured.</p>", plot.title), |()| svg)
}

fn draw(plot: &Plot, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = plot.lines.iter().flat_map(|(_, points)| points);
    let largest = |axis: fn(&(f64, f64)) -> f64| points.clone().map(axis).fold(0.0, f64::max);
    let (right, top) = (largest(|point| point.0), largest(|point| point.1));
    if points.clone().count() == 0 {
        return Err("no points".into());
    }
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right.max(1.0), 0.0..(top * 1.1).max(0.001))?;
    chart.configure_mesh().x_desc(plot.x).y_desc(plot.y).light_line_style(WHITE).draw()?;
    for (at, (name, points)) in plot.lines.iter().enumerate() {
        let colour = Palette99::pick(at).to_rgba();
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(key);
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

fn begin(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1>"
    )
}

fn end(page: String) -> String {
    page + "</html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
