//! Small drawings in pages, as SVG. The Content-Security-Policy refuses `style=`, so lengths are SVG's own attributes;
//! colours and sizes are the style sheet's.

use std::fmt::Write;

use super::html::escape;

/// The drawing's own units, whatever size the style sheet gives it.
const WIDTH: f32 = 96.0;
const HEIGHT: f32 = 24.0;

/// Room above and below for half of the line's width.
const EDGE: f32 = 1.0;

/// A line through `points`, from the oldest to the newest; a point that is not there is a gap. The scale begins at 0 and
/// ends at `most`, or at the highest point where that is higher. `label` says in words what is drawn.
pub fn sparkline(points: &[Option<f32>], most: f32, label: &str) -> String {
    let top = points.iter().flatten().copied().fold(most, f32::max).max(f32::MIN_POSITIVE);
    let step = WIDTH / count(points.len().saturating_sub(1).max(1));
    let mut path = String::with_capacity(points.len() * 10);
    let mut drawing = false;
    for (at, point) in points.iter().enumerate() {
        if let Some(point) = point {
            let x = step * count(at);
            let y = HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * (point / top).clamp(0.0, 1.0);
            // Writing to a text cannot fail.
            let _ = write!(path, "{}{x:.1} {y:.1}", if drawing { "L" } else { "M" });
            // A point alone is a dot.
            if !drawing {
                path.push_str("h0.1");
            }
        }
        drawing = point.is_some();
    }
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 96 24\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <path d=\"{path}\" vector-effect=\"non-scaling-stroke\"/></svg>",
        escape(label)
    )
}

/// A bar that is filled to `percent`. The number stands beside it, so the bar itself is decoration.
pub fn bar(percent: f32) -> String {
    let percent = if percent.is_finite() { percent.clamp(0.0, 100.0) } else { 0.0 };
    let class = if percent >= 95.0 {
        "part full"
    } else if percent >= 85.0 {
        "part much"
    } else {
        "part"
    };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"whole\" width=\"100\" height=\"10\"/><rect class=\"{class}\" width=\"{percent:.1}\" height=\"10\"/></svg>"
    )
}

#[allow(clippy::cast_precision_loss, reason = "a drawing has few points")]
fn count(number: usize) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_not_drawn_and_a_label_is_harmless() {
        let drawn = sparkline(&[Some(0.0), Some(100.0), None, Some(50.0)], 100.0, "cpu of <h>");
        assert!(drawn.contains("d=\"M0.0 23.0h0.1L32.0 1.0M96.0 12.0h0.1\""), "{drawn}");
        assert!(drawn.contains("cpu of &lt;h&gt;") && !drawn.contains("style"), "{drawn}");
        assert!(sparkline(&[], 0.0, "").contains("d=\"\""));
        assert!(bar(f32::NAN).contains("width=\"0.0\"") && bar(120.0).contains("part full"));
    }
}
