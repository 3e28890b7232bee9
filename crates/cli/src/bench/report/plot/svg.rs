//! The elements of a drawing, as text.

use std::fmt::{self, Write as _};

use super::{Caption, Look, WIDTH};

/// Text for XML: nothing in it is markup, and characters that XML does not have are replaced.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // XML 1.0, 2.2
                '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{1_0000}'.. => f.write_char(character)?,
                _ => f.write_char(char::REPLACEMENT_CHARACTER)?,
            }
        }
        Ok(())
    }
}

/// A place, in units from the left and from the top.
pub(super) type Place = (f64, f64);

/// Where a text lies that is set at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How wide a text is, about: system fonts at the size of [`super::STYLE`].
pub(super) fn text_width(text: &str) -> f64 {
    let width = |character: char| match character {
        'i' | 'j' | 'l' | 'f' | 't' | 'r' | '.' | ',' | ' ' | '(' | ')' => 4.4,
        'm' | 'w' | 'M' | 'W' | '%' | 'G' => 10.0,
        _ => 7.2,
    };
    text.chars().map(width).sum()
}

/// A drawing in the making.
pub(super) struct Svg {
    out: String,
}

impl Svg {
    pub(super) fn open(caption: &Caption, height: f64) -> Svg {
        let Caption { id, title, description } = caption;
        let (id, title, description) = (Escaped(id), Escaped(title), Escaped(description));
        let mut svg = Svg { out: String::new() };
        svg.push(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\n\
             <desc id=\"{id}-desc\">{description}</desc>\n",
            Length(height)
        ));
        svg
    }

    pub(super) fn close(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }

    pub(super) fn line(&mut self, class: &str, from: Place, to: Place) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(Length);
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\n"
        ));
    }

    /// A line through these places.
    pub(super) fn path(&mut self, class: &str, places: &[Place]) {
        self.push(format_args!("<polyline class=\"{class}\" points=\""));
        for (index, (x, y)) in places.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            self.push(format_args!("{space}{},{}", Length(*x), Length(*y)));
        }
        self.out.push_str("\"/>\n");
    }

    /// A box; `hover` is told where the pointer rests on it.
    pub(super) fn rect(&mut self, class: &str, corner: Place, size: Place, hover: &str) {
        let [x, y, width, height] = [corner.0, corner.1, size.0, size.1].map(Length);
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">\
             <title>{}</title></rect>\n",
            Escaped(hover)
        ));
    }

    /// The mark of a figure; `hover` is told where the pointer rests on it.
    pub(super) fn mark(&mut self, look: Look, at: Place, hover: &str) {
        self.push(format_args!(
            "{}<title>{}</title></{}>\n",
            Mark(look, at),
            Escaped(hover),
            Mark::name(look)
        ));
    }

    /// One of several dots of a figure; `hover` is told where the pointer rests on it.
    pub(super) fn dot(&mut self, at: Place, hover: &str) {
        let [x, y] = [at.0, at.1].map(Length);
        self.push(format_args!(
            "<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"4\"><title>{}</title></circle>\n",
            Escaped(hover)
        ));
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, at: Place, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{}\" y=\"{}\">{}</text>\n",
            Length(at.0),
            Length(at.1),
            Escaped(text)
        ));
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a String takes all");
    }
}

/// What a key explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Line,
    Bar,
}

/// A sample of a look, for a legend; its name stands beside it in the page.
pub(crate) fn key(key: Key, look: Look) -> String {
    let class = look.class();
    let sample = match key {
        Key::Line => format!(
            "<line class=\"series {class}\" x1=\"1\" y1=\"7\" x2=\"27\" y2=\"7\"/>{}</{}>",
            Mark(look, (14.0, 7.0)),
            Mark::name(look)
        ),
        Key::Bar => format!("<rect class=\"bar {class}\" x=\"1\" y=\"2\" width=\"26\" height=\"10\"/>"),
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"key\" viewBox=\"0 0 28 14\" aria-hidden=\"true\">{sample}</svg>"
    )
}

/// The start of the element that marks a figure.
struct Mark(Look, Place);

impl Mark {
    fn name(look: Look) -> &'static str {
        match look {
            Look::Solid => "circle",
            Look::Dashed => "rect",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark(look, (x, y)) = *self;
        let class = look.class();
        match look {
            Look::Solid => {
                write!(f, "<circle class=\"mark {class}\" cx=\"{}\" cy=\"{}\" r=\"4\">", Length(x), Length(y))
            }
            Look::Dashed => write!(
                f,
                "<rect class=\"mark {class}\" x=\"{}\" y=\"{}\" width=\"7\" height=\"7\">",
                Length(x - 3.5),
                Length(y - 3.5)
            ),
        }
    }
}

/// A length to a tenth of a unit; what is not finite would be no attribute.
struct Length(f64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = if self.0.is_finite() { (self.0 * 10.0).round() } else { 0.0 };
        // Without the sign of a zero.
        write!(f, "{}", tenths / 10.0 + 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup_and_never_a_character_that_xml_does_not_have() {
        assert_eq!(Escaped("a<b> & \"c\" 'd'").to_string(), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        assert_eq!(
            Escaped("\u{1b}[1m\0 \u{ffff}\té\u{1f980}").to_string(),
            "\u{fffd}[1m\u{fffd} \u{fffd}\té\u{1f980}"
        );
    }

    #[test]
    fn lengths_are_short_and_always_numbers() {
        for (length, text) in
            [(1.0, "1"), (1.04, "1"), (-0.04, "0"), (12.35, "12.4"), (f64::NAN, "0"), (f64::INFINITY, "0")]
        {
            assert_eq!(Length(length).to_string(), text);
        }
    }
}
