//! The text of points and other figures, as PostgreSQL reads and prints them, but for exponents.

use crate::decode::value::Point;
use crate::decode::value::figure::{Figure, Place};
use crate::table::Misfit;
use crate::target::text::write_double;

/// Writes a point; one with a reference system has no text without it.
pub(crate) fn write_point(point: Point<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if point.geometry.srid.is_some_and(|srid| srid != 0) {
        return Err(Misfit::Range);
    }
    write_place([point.x, point.y], out);
    Ok(())
}

/// Writes a figure.
pub(crate) fn write_figure(figure: Figure<'_>, out: &mut Vec<u8>) {
    match figure {
        Figure::Line(numbers) => {
            out.push(b'{');
            write_numbers(&numbers, out);
            out.push(b'}');
        }
        Figure::Segment(places) => {
            out.push(b'[');
            write_places(places.into_iter(), out);
            out.push(b']');
        }
        Figure::Box(corners) => write_places(corners.into_iter(), out),
        Figure::Path { is_closed: false, places } => {
            out.push(b'[');
            write_places(places.iter(), out);
            out.push(b']');
        }
        Figure::Path { is_closed: true, places } | Figure::Polygon(places) => {
            out.push(b'(');
            write_places(places.iter(), out);
            out.push(b')');
        }
        Figure::Circle { center, radius } => {
            out.push(b'<');
            write_place(center, out);
            out.push(b',');
            write_double(radius, out);
            out.push(b'>');
        }
    }
}

fn write_places(places: impl Iterator<Item = Place>, out: &mut Vec<u8>) {
    for (index, place) in places.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_place(place, out);
    }
}

fn write_place(place: Place, out: &mut Vec<u8>) {
    out.push(b'(');
    write_numbers(&place, out);
    out.push(b')');
}

fn write_numbers(numbers: &[f64], out: &mut Vec<u8>) {
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_double(*number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::Geometry;

    fn check(figure: Figure<'_>, expected: &str) {
        let mut out = Vec::new();
        write_figure(figure, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_point_is_in_brackets_unless_it_has_a_reference_system() {
        let text = |x, srid| {
            let (geometry, mut out) = (Geometry { srid, wkb: &[] }, Vec::new());
            write_point(Point { x, y: -2.0, geometry }, &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        };
        assert_eq!(text(1.5, None).as_deref(), Ok("(1.5,-2)"));
        assert_eq!(text(f64::NEG_INFINITY, Some(0)).as_deref(), Ok("(-Infinity,-2)"));
        assert_eq!(text(1.5, Some(4326)), Err(Misfit::Range));
    }

    #[test]
    fn a_figure_is_spelled_as_the_server_does() {
        check(Figure::Line([1.5, -0.0, f64::NAN]), "{1.5,-0,NaN}");
        check(Figure::Segment([[1.0, 2.0], [0.1, -3.0]]), "[(1,2),(0.1,-3)]");
        check(Figure::Box([[3.0, 4.0], [1.0, 2.0]]), "(3,4),(1,2)");
        check(Figure::Circle { center: [1.0, 2.0], radius: f64::INFINITY }, "<(1,2),Infinity>");
    }
}
