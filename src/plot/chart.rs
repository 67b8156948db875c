//! The panels of a picture: losses, how far they are apart, learning rates.

use std::collections::BTreeMap;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::PathElement;
use plotters::prelude::{DrawingBackend, IntoFont as _, LineSeries, RGBColor};
use plotters::style::{Color as _, TextStyle};

use super::Curve;

/// The first log is dark; those after it stand out.
const COLOURS: [RGBColor; 6] = [
    RGBColor(60, 60, 70),
    RGBColor(220, 90, 20),
    RGBColor(20, 120, 200),
    RGBColor(30, 150, 80),
    RGBColor(150, 60, 170),
    RGBColor(170, 130, 20),
];

/// How many points a line has at most: more than there are columns of pixels.
const POINTS: usize = 2_000;

/// Above this ratio of the largest to the smallest, an axis is logarithmic.
const WIDE: f64 = 300.0;

/// Points of a line: steps and values.
type Line = Vec<(f64, f64)>;

/// Draws all panels; `scale` is how many units a unit of the design has.
pub(super) fn draw<B: DrawingBackend>(
    curves: &[Curve],
    area: &DrawingArea<B, Shift>,
    scale: u32,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the picture cannot be drawn: {error}");
    area.fill(&RGBColor(255, 255, 255)).map_err(|error| failed(&error))?;
    let panels = panels(curves);
    let (_, height) = area.dim_in_pixel();
    let steps = panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(|point| point.0);
    let (first, last) = steps.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), step| (a.min(step), b.max(step)));
    let steps = if first < last { (first, last) } else { (first - 0.5, last + 0.5) };
    let total: u32 = panels.iter().map(|panel| panel.share).sum();
    let (mut rest, mut above) = (area.clone(), 0);
    for (number, panel) in panels.iter().enumerate() {
        let last = number + 1 == panels.len();
        let below = above + height * panel.share / total.max(1);
        let (here, after) = if last { (rest.clone(), rest) } else { rest.split_vertically(below - above) };
        panel.draw(&here, steps, scale, last).map_err(|error| failed(&error))?;
        (rest, above) = (after, below);
    }
    area.present().map_err(|error| failed(&error))
}

/// A panel, and how much of the height it takes.
struct Panel {
    title: &'static str,
    share: u32,
    lines: Vec<Named>,
    /// Whether names are written.
    legend: bool,
}

/// A line, its name and its colour.
struct Named {
    name: String,
    points: Line,
    colour: RGBColor,
}

fn panels(curves: &[Curve]) -> Vec<Panel> {
    let colour = |number: usize| COLOURS[number % COLOURS.len()];
    let of = |number: usize, name: &str, points: Line| Named { name: name.to_owned(), points, colour: colour(number) };
    let losses = curves.iter().enumerate().map(|(number, curve)| {
        #[allow(clippy::cast_precision_loss)] // steps
        let points = curve.lines.iter().map(|line| (line.step as f64, line.loss)).collect();
        of(number, &curve.name, points)
    });
    let mut panels = vec![Panel { title: "loss", share: 5, lines: losses.collect(), legend: true }];
    if let Some((first, later)) = curves.split_first() {
        let apart = later.iter().enumerate().map(|(number, curve)| {
            let name = format!("{} and {}", curve.name, first.name);
            of(number + 1, &name, apart(first, curve))
        });
        let apart: Vec<Named> = apart.filter(|line| !line.points.is_empty()).collect();
        if !apart.is_empty() {
            let title = "difference of the loss, relative";
            panels.push(Panel { title, share: 3, lines: apart, legend: true });
        }
    }
    let rates = curves.iter().enumerate().flat_map(|(number, curve)| {
        let groups = curve.lines.iter().map(|line| line.lr.len()).max().unwrap_or(0);
        (0..groups).map(move |group| {
            #[allow(clippy::cast_precision_loss)] // steps
            let point = |line: &rekindle_train::log::LogLine| Some((line.step as f64, *line.lr.get(group)?));
            of(number, &curve.name, curve.lines.iter().filter_map(point).collect())
        })
    });
    let rates: Vec<Named> = rates.collect();
    if rates.iter().any(|line| line.points.iter().any(|point| point.1.is_finite())) {
        panels.push(Panel { title: "learning rate", share: 2, lines: rates, legend: false });
    }
    panels
}

/// How far the losses of the second are from the first's, relative to those, at the steps that both have.
fn apart(first: &Curve, second: &Curve) -> Line {
    let losses: BTreeMap<u64, f64> = first.lines.iter().map(|line| (line.step, line.loss)).collect();
    let there = second.lines.iter().filter_map(|line| Some((line.step, line.loss, *losses.get(&line.step)?)));
    #[allow(clippy::cast_precision_loss)] // steps
    let point = |(step, own, other): (u64, f64, f64)| {
        let apart = if own.to_bits() == other.to_bits() { 0.0 } else { (own - other).abs() / other.abs() };
        (step as f64, apart)
    };
    there.map(point).collect()
}

impl Panel {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        steps: (f64, f64),
        scale: u32,
        last: bool,
    ) -> Result<(), plotters::drawing::DrawingAreaErrorKind<B::ErrorType>> {
        let axis = Axis::of(self.lines.iter().flat_map(|line| &line.points).map(|point| point.1));
        let text = |size: u32| ("sans-serif", size * scale).into_font();
        let dark = RGBColor(60, 60, 70);
        let mut chart = ChartBuilder::on(area)
            .margin(8 * scale)
            .caption(self.title, TextStyle::from(text(15)).color(&dark))
            .x_label_area_size(if last { 36 * scale } else { 20 * scale })
            .y_label_area_size(76 * scale)
            .build_cartesian_2d(steps.0..steps.1, axis.from..axis.to)?;
        chart
            .configure_mesh()
            .light_line_style(RGBColor(255, 255, 255))
            .bold_line_style(RGBColor(226, 228, 232))
            .axis_style(RGBColor(150, 152, 158))
            .label_style(TextStyle::from(text(13)).color(&dark))
            .x_labels(8)
            .y_labels(if self.share > 2 { 6 } else { 3 })
            .x_desc(if last { "step" } else { "" })
            .axis_desc_style(TextStyle::from(text(13)).color(&dark))
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| axis.label(*value))
            .draw()?;
        for line in &self.lines {
            let style = line.colour.stroke_width(scale + scale / 2);
            for (number, part) in axis.parts(&line.points).into_iter().enumerate() {
                let drawn = chart.draw_series(LineSeries::new(part, style))?;
                if number == 0 && self.legend {
                    let (wide, high) = (i32::try_from(18 * scale).unwrap_or(18), 0);
                    drawn.label(line.name.clone());
                    drawn.legend(move |(x, y)| PathElement::new(vec![(x, y + high), (x + wide, y)], style));
                }
            }
        }
        if self.legend {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .legend_area_size(24 * scale)
                .margin(6 * scale)
                .background_style(RGBColor(255, 255, 255).mix(0.85))
                .border_style(RGBColor(226, 228, 232))
                .label_font(TextStyle::from(text(13)).color(&dark))
                .draw()?;
        }
        Ok(())
    }
}

/// An axis of values.
struct Axis {
    from: f64,
    to: f64,
    /// Whether it is of the logarithms to the base of 10.
    logarithmic: bool,
    /// What is drawn in the place of 0 on a logarithmic axis.
    least: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most, mut positive) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
            if value > 0.0 {
                positive = positive.min(value);
            }
        }
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        let logarithmic = least >= 0.0 && positive.is_finite() && most / positive > WIDE;
        let (from, to) = if logarithmic { (positive.log10(), most.log10()) } else { (least, most) };
        let room = if from < to { (to - from) * 0.05 } else { from.abs().max(1e-12) * 0.5 };
        // Values that are never below 0 have no room below it.
        let below = if !logarithmic && least >= 0.0 { (from - room).max(0.0) } else { from - room };
        Axis { from: below, to: to + room, logarithmic, least: positive }
    }

    fn label(&self, value: f64) -> String {
        let value = if self.logarithmic { 10.0_f64.powf(value) } else { value };
        match value.abs() {
            0.0 => "0".to_owned(),
            small if small < 1e-3 || self.logarithmic && small < 0.1 => format!("{value:.1e}"),
            large if large >= 1e5 => format!("{value:.1e}"),
            _ => {
                let text = format!("{value:.4}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }

    /// A line in parts without a gap: what is not finite is left out, and what is too much to be seen.
    fn parts(&self, points: &[(f64, f64)]) -> Vec<Line> {
        let drawn = |value: f64| {
            if self.logarithmic { if value > 0.0 { value.log10() } else { self.least.log10() } } else { value }
        };
        let parts = points.split(|point| !point.1.is_finite()).filter(|part| !part.is_empty());
        let parts = parts.map(|part| thinned(part.iter().map(|(step, value)| (*step, drawn(*value))).collect()));
        // A point alone is a short line.
        parts.map(|part| if let [one] = part[..] { vec![one, one] } else { part }).collect()
    }
}

/// Of each few points the least and the greatest: what is seen of all of them.
fn thinned(points: Line) -> Line {
    if points.len() <= POINTS {
        return points;
    }
    let few = points.len().div_ceil(POINTS / 2);
    let ends = |few: &[(f64, f64)]| {
        let least = few.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = few.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut ends: Vec<_> = least.into_iter().chain(most).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points.chunks(few).flat_map(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_train::log::LogLine;

    fn curve(name: &str, losses: &[f64]) -> Curve {
        let line = |(step, &loss): (u64, &f64)| LogLine { step, loss, lr: vec![0.1] };
        Curve { name: name.to_owned(), lines: (1..).zip(losses).map(line).collect() }
    }

    #[test]
    fn a_difference_is_of_steps_that_both_have_and_relative_to_the_first() {
        let found = apart(&curve("a", &[1.0, 2.0, f64::NAN]), &curve("b", &[1.0, 2.5, f64::NAN, 7.0]));
        assert_eq!(found, [(1.0, 0.0), (2.0, 0.25), (3.0, 0.0)]);
    }

    #[test]
    fn axes_leave_out_what_is_not_finite_and_are_logarithmic_where_values_are_far_apart() {
        let axis = Axis::of([1.0, f64::NAN, 2.0, f64::INFINITY].into_iter());
        assert!(!axis.logarithmic && axis.from < 1.0 && axis.to > 2.0 && axis.to < 3.0);
        assert_eq!(axis.parts(&[(1.0, 1.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 2.0)]).len(), 2);
        assert!(Axis::of([1e-9, 1e-3, 0.0].into_iter()).logarithmic);
        let many: Line = (0..100_000).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        assert!(thinned(many).len() <= POINTS);
    }
}
