//! A mesh as a picture without any other program: who calls on the left, who is called on the right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::event::plain;
use super::map::{Mesh, Node};

/// Heights and widths, in pixels.
const ROW: usize = 44;
const BOX: usize = 28;
const MARGIN: usize = 20;
const BETWEEN: usize = 320;
/// Of one character; the font is fixed.
const CHARACTER: usize = 8;
/// Characters of a name that are shown; the whole of it is in the title.
const NAME: usize = 44;

/// Draws it. An agent that calls and is called stands on both sides.
pub fn draw(mesh: &Mesh) -> String {
    let mut left: BTreeMap<&Node, usize> = BTreeMap::new();
    let mut right: BTreeMap<&Node, usize> = BTreeMap::new();
    for (from, to) in mesh.edges.keys() {
        let row = left.len();
        left.entry(from).or_insert(row);
        let row = right.len();
        right.entry(to).or_insert(row);
    }
    let width_of = |nodes: &BTreeMap<&Node, usize>| {
        let longest = nodes.keys().map(|n| shown(n).chars().count()).max();
        longest.unwrap_or(0) * CHARACTER + 2 * CHARACTER
    };
    let (left_width, right_width) = (width_of(&left), width_of(&right));
    let right_x = MARGIN + left_width + BETWEEN;
    let (width, height) = (
        right_x + right_width + MARGIN,
        left.len().max(right.len()) * ROW + 2 * MARGIN,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"13\">\n\
         <title>Who calls which agent</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for ((from, to), calls) in &mesh.edges {
        let (Some(a), Some(b)) = (left.get(from), right.get(to)) else {
            continue;
        };
        let (x1, x2) = (MARGIN + left_width, right_x);
        let (y1, y2) = (middle(*a), middle(*b));
        let bend = BETWEEN / 2;
        let (all, color) = if calls.allowed > 0 {
            (calls.allowed + calls.refused, "#3568a8")
        } else {
            (calls.refused, "#c62828")
        };
        let dashes = if calls.allowed > 0 {
            ""
        } else {
            " stroke-dasharray=\"6 4\""
        };
        // One pixel more for each order of magnitude.
        let stroke = 1 + all.max(1).ilog10();
        let title = format!(
            "{} → {}: {} allowed, {} refused",
            escaped(from.name()),
            escaped(to.name()),
            calls.allowed,
            calls.refused
        );
        let _ = writeln!(
            out,
            "<path d=\"M{x1} {y1} C{} {y1} {} {y2} {x2} {y2}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{stroke}\"{dashes}><title>{title}</title></path>",
            x1 + bend,
            x2 - bend
        );
        let label = match (calls.allowed, calls.refused) {
            (allowed, 0) => allowed.to_string(),
            (0, refused) => format!("{refused} refused"),
            (allowed, refused) => format!("{allowed}, {refused} refused"),
        };
        // A quarter of the way from the caller, where lines have not met yet.
        let y = (3 * y1 + y2) / 4;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{color}\" font-size=\"11\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\">{label}</text>",
            x1 + BETWEEN / 5,
            y.saturating_sub(3)
        );
    }
    for (nodes, x, width) in [(&left, MARGIN, left_width), (&right, right_x, right_width)] {
        for (node, row) in nodes {
            let y = middle(*row) - BOX / 2;
            let (fill, radius) = match node {
                Node::Agent(_) => ("#e3f2e1", 6),
                Node::Other(_) => ("#f2efe1", BOX / 2),
            };
            let _ = writeln!(
                out,
                "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"{radius}\" fill=\"{fill}\" stroke=\"#555\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
                escaped(node.name()),
                x + CHARACTER,
                y + BOX - 9,
                escaped(&shown(node))
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn middle(row: usize) -> usize {
    MARGIN + row * ROW + ROW / 2
}

fn shown(node: &Node) -> String {
    let name = plain(node.name());
    if name.chars().count() <= NAME {
        return name.into_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
