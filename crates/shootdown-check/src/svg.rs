//! A run as a sequence diagram: a lane for each CPU, a row for each act.
//!
//! Time goes down. What code does is a dark mark on its CPU's lane with the text beside it, in handlers on a wider lane;
//! what the hardware does by itself is hollow and in italics. A kick is an arrow to the lane of its target, where a bar
//! shows how long the interrupt is pending; an answer is a dashed arrow back. The last act is red if it is a failure.

use std::fmt::Write as _;

use crate::trace::{Step, StepKind, Trace};

const LEFT: usize = 70;
const TOP: usize = 80;
const ROW: usize = 22;
/// From a lane to the text beside it.
const GAP: usize = 14;
/// Tenths of the width of a character, about.
const CHARACTER: usize = 73;
/// The same for the places in the source, which are smaller.
const SMALL_CHARACTER: usize = 62;
/// Characters that a text beside a lane has at most.
const MAX_TEXT: usize = 44;

const STYLE: &str = "\
text { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328 }
text { paint-order: stroke; stroke: #fff; stroke-width: 4px }
.title { font-size: 15px; font-weight: bold }
.lane { stroke: #c4cad1; stroke-width: 2 }
.head { font-weight: bold; text-anchor: middle }
.number, .source { fill: #8b949e; font-size: 10px }
.number { text-anchor: end }
.code { fill: #1f2328 }
.handler { fill: #ddf4ff; stroke: none }
.hardware { fill: #fff; stroke: #9a6700; stroke-width: 1.5 }
.by-hardware { fill: #9a6700; font-style: italic }
.kick { stroke: #0969da; stroke-width: 1.5; fill: none }
.answer { stroke: #1a7f37; stroke-width: 1.5; stroke-dasharray: 5 3; fill: none }
.pending { fill: #54aeff; opacity: .45 }
.violation { fill: #cf222e }
.failed { fill: #cf222e; font-weight: bold }
.fine { font-weight: bold }";

impl Trace {
    /// Draws it as a sequence diagram, a complete SVG file.
    #[must_use]
    pub fn to_svg(&self) -> String {
        Diagram::new(self).draw()
    }
}

struct Diagram<'a> {
    trace: &'a Trace,
    /// From one lane to the next.
    lane: usize,
    svg: String,
}

impl<'a> Diagram<'a> {
    fn new(trace: &'a Trace) -> Self {
        let widest = trace.steps.iter().chain(&trace.cycle).map(|step| text_width(&shortened(&step.what))).max();
        Diagram { trace, lane: widest.unwrap_or_default().max(120) + 2 * GAP, svg: String::new() }
    }

    fn draw(mut self) -> String {
        let Trace { title, n_cpus, steps, cycle, end, has_failed } = self.trace;
        // One row between, for the words that announce the cycle.
        let n_rows = steps.len() + if cycle.is_empty() { 0 } else { cycle.len() + 1 };
        let sources = steps.iter().chain(cycle).filter_map(Step::source).map(|source| source.chars().count());
        let source_width = sources.max().unwrap_or_default() * SMALL_CHARACTER / 10;
        let (bottom, right) = (y(n_rows), (self.x(*n_cpus) + source_width + GAP).max(LEFT + text_width(end)));
        self.begin(right, bottom + 40);
        self.line(&format!("<text class=\"title\" x=\"14\" y=\"26\">{}</text>", escaped(title)));
        for cpu in 0..*n_cpus {
            let x = self.x(cpu);
            self.line(&format!("<line class=\"lane\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom}\"/>", TOP - 12));
            self.line(&format!("<text class=\"head\" x=\"{x}\" y=\"{}\">CPU {cpu}</text>", TOP - 20));
        }
        // What lies below marks and arrows comes first.
        self.draw_pending();
        let rows = steps.iter().enumerate().chain((steps.len() + 1..).zip(cycle));
        rows.clone().for_each(|(row, step)| self.draw_handler(row, step));
        rows.for_each(|(row, step)| self.draw_step(row, step));
        if !cycle.is_empty() {
            let y = y(steps.len()) + 4;
            self.line(&format!("<text class=\"failed\" x=\"14\" y=\"{y}\">again and again:</text>"));
        }
        let class = if *has_failed { "failed" } else { "fine" };
        self.line(&format!("<text class=\"{class}\" x=\"14\" y=\"{}\">{}</text>", bottom + 20, escaped(end)));
        self.svg + "</svg>\n"
    }

    fn begin(&mut self, width: usize, height: usize) {
        self.line(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\">\n<style>\n{STYLE}\n</style>\n<defs>"
        ));
        for (class, color) in [("kick", "#0969da"), ("answer", "#1a7f37")] {
            self.line(&format!(
                "<marker id=\"{class}-head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
                 markerHeight=\"7\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"{color}\"/></marker>"
            ));
        }
        self.line(&format!("</defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"));
    }

    /// A bar on each lane from each kick to where it is taken, or to the last act.
    fn draw_pending(&mut self) {
        let steps = &self.trace.steps;
        let mut pending_since = vec![None; self.trace.n_cpus];
        for (row, step) in steps.iter().enumerate() {
            match step.kind {
                StepKind::Kick(targets) => {
                    let targets = (0..self.trace.n_cpus).filter(|cpu| targets >> cpu & 1 != 0);
                    targets.for_each(|cpu| pending_since[cpu] = pending_since[cpu].or(Some(row)));
                }
                StepKind::TakesKick => {
                    let cpu = usize::from(step.cpu.0);
                    if let Some(from) = pending_since[cpu].take() {
                        self.draw_bar(cpu, from, row);
                    }
                }
                StepKind::Code | StepKind::Answer(_) | StepKind::Hardware => {}
            }
        }
        for (cpu, from) in pending_since.into_iter().enumerate() {
            if let Some(from) = from {
                self.draw_bar(cpu, from, steps.len());
            }
        }
    }

    fn draw_bar(&mut self, cpu: usize, from: usize, to: usize) {
        let (x, y, height) = (self.x(cpu) - 4, y(from), ROW * (to - from));
        self.line(&format!("<rect class=\"pending\" x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{height}\"/>"));
    }

    /// A wider lane while a handler runs.
    fn draw_handler(&mut self, row: usize, step: &Step) {
        if step.depth > 0 {
            let (x, y) = (self.x(usize::from(step.cpu.0)) - 8, y(row) - ROW / 2);
            self.line(&format!("<rect class=\"handler\" x=\"{x}\" y=\"{y}\" width=\"16\" height=\"{ROW}\"/>"));
        }
    }

    fn draw_step(&mut self, row: usize, step: &Step) {
        let cpu = usize::from(step.cpu.0);
        let (x, y) = (self.x(cpu), y(row));
        if row < self.trace.steps.len() {
            self.line(&format!("<text class=\"number\" x=\"36\" y=\"{}\">{}</text>", y + 4, row + 1));
        }
        let what = shortened(&step.what);
        match step.kind {
            StepKind::Kick(targets) => {
                let targets = (0..self.trace.n_cpus).filter(|to| targets >> to & 1 != 0);
                targets.for_each(|to| self.draw_arrow("kick", cpu, to, y, &what));
            }
            StepKind::Answer(to) => self.draw_arrow("answer", cpu, usize::from(to.0), y, &what),
            StepKind::Code | StepKind::TakesKick | StepKind::Hardware => {}
        }
        let is_failure = self.trace.has_failed && row + 1 == self.trace.steps.len();
        let (mark, style) = match (is_failure, step.kind) {
            (true, _) => ("violation", "failed"),
            (false, StepKind::Hardware) => ("hardware", "by-hardware"),
            (false, _) => ("code", "by-code"),
        };
        self.line(&format!("<circle class=\"{mark}\" cx=\"{x}\" cy=\"{y}\" r=\"4.5\"/>"));
        // The whole text is there to be hovered over.
        let (what, whole) = (escaped(&what), escaped(&step.what));
        let x = x + GAP;
        self.line(&format!("<text class=\"{style}\" x=\"{x}\" y=\"{}\">{what}<title>{whole}</title></text>", y + 4));
        if let Some(source) = step.source() {
            let x = self.x(self.trace.n_cpus);
            self.line(&format!("<text class=\"source\" x=\"{x}\" y=\"{}\">{}</text>", y + 4, escaped(&source)));
        }
    }

    /// An arrow between two lanes that leaves out the text beside the first.
    fn draw_arrow(&mut self, class: &str, from: usize, to: usize, y: usize, text: &str) {
        let (from, to) = match from < to {
            true => (self.x(from) + GAP + text_width(text) + 6, self.x(to) - 6),
            false => (self.x(from) - 7, self.x(to) + 6),
        };
        self.line(&format!(
            "<line class=\"{class}\" x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" marker-end=\"url(#{class}-head)\"/>"
        ));
    }

    fn x(&self, cpu: usize) -> usize {
        LEFT + self.lane * cpu
    }

    fn line(&mut self, text: &str) {
        writeln!(self.svg, "{text}").expect("a string can be written to");
    }
}

fn y(row: usize) -> usize {
    TOP + ROW * row
}

fn text_width(text: &str) -> usize {
    text.chars().count() * CHARACTER / 10
}

fn shortened(text: &str) -> String {
    match text.chars().count() > MAX_TEXT {
        true => text.chars().take(MAX_TEXT - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
