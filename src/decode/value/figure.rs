//! PostgreSQL's own figures, as its connector sends them from version 3.7 on: well-known binary
//! with the type's name beside it, or structs of numbers.

use crate::decode::value::semantic::Unfit;
use crate::decode::value::{Geometry, Pairs};

/// A figure of a plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure<'a> {
    /// The `line` of the equation ax + by + c = 0.
    Line([f64; 3]),
    /// An `lseg` between two places.
    Segment([Place; 2]),
    /// A `box` between its upper right and its lower left corner.
    Box([Place; 2]),
    /// A `path`.
    Path {
        /// Whether its last place leads to its first.
        is_closed: bool,
        /// Its places.
        places: Places<'a>,
    },
    /// A `polygon`.
    Polygon(Places<'a>),
    /// A `circle`.
    Circle {
        /// Its middle.
        center: Place,
        /// Its radius.
        radius: f64,
    },
}

/// Two coordinates.
pub type Place = [f64; 2];

/// Places in well-known binary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Places<'a> {
    octets: &'a [u8],
    is_little: bool,
}

/// The octets of a place.
const PLACE: usize = 16;

const OTHER: Unfit = Unfit("is of a geometric type that has no conversion");
const FORM: Unfit = Unfit("is no well-known binary of its geometric type");

impl<'a> Figure<'a> {
    /// Reads a geometry by what stands beside it.
    ///
    /// # Errors
    ///
    /// The type is none of PostgreSQL's, or the geometry is another than it says.
    pub fn read(geometry: Geometry<'a>, extensions: Pairs<'a>) -> Result<Self, Unfit> {
        let (mut name, mut closed) = (None, None);
        for pair in extensions.texts() {
            match pair.map_err(|_| OTHER)? {
                ("type", text) => name = text,
                ("closed", text) => closed = text,
                _ => {}
            }
        }
        if geometry.srid.is_some_and(|srid| srid != 0) {
            return Err(FORM);
        }
        match (name, closed) {
            (Some("lseg"), _) => Places::of_line(geometry.wkb)?.pair().map(Self::Segment),
            (Some("box"), _) => Places::of_ring(geometry.wkb)?.corners().map(Self::Box),
            (Some("polygon"), _) => Ok(Self::Polygon(Places::of_ring(geometry.wkb)?.open())),
            (Some("path"), Some(closed @ ("true" | "false"))) => {
                let places = Places::of_line(geometry.wkb)?;
                Ok(Self::Path { is_closed: closed == "true", places })
            }
            _ => Err(OTHER),
        }
    }

    /// Returns the name of its type.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Segment(_) => "lseg",
            Self::Box(_) => "box",
            Self::Path { .. } => "path",
            Self::Polygon(_) => "polygon",
            Self::Circle { .. } => "circle",
        }
    }
}

impl<'a> Places<'a> {
    /// Returns the places in their order.
    pub fn iter(self) -> impl Iterator<Item = Place> + 'a {
        let read = if self.is_little { f64::from_le_bytes } else { f64::from_be_bytes };
        let (places, _) = self.octets.as_chunks::<PLACE>();
        places.iter().map(move |place| {
            let (numbers, _) = place.as_chunks::<8>();
            let mut numbers = numbers.iter().map(|octets| read(*octets));
            [(); 2].map(|()| numbers.next().expect("a place has two numbers"))
        })
    }

    fn of_line(wkb: &'a [u8]) -> Result<Self, Unfit> {
        const LINE: u32 = 2;
        let mut cursor = Cursor::of(wkb, LINE).ok_or(FORM)?;
        cursor.places().ok_or(FORM)
    }

    fn of_ring(wkb: &'a [u8]) -> Result<Self, Unfit> {
        const POLYGON: u32 = 3;
        let mut cursor = Cursor::of(wkb, POLYGON).ok_or(FORM)?;
        if cursor.number() != Some(1) {
            return Err(FORM);
        }
        cursor.places().ok_or(FORM)
    }

    fn pair(self) -> Result<[Place; 2], Unfit> {
        let mut places = self.iter();
        match (places.next(), places.next(), places.next()) {
            (Some(from), Some(to), None) => Ok([from, to]),
            _ => Err(FORM),
        }
    }

    /// Returns the corners of a box, whose ring begins and ends in the upper right one.
    fn corners(self) -> Result<[Place; 2], Unfit> {
        let mut places = self.iter().map(|place| place.map(f64::to_bits));
        let [first, second, third, fourth, fifth] = [(); 5].map(|()| places.next());
        let (Some([right, upper]), Some([left, lower])) = (first, third) else { return Err(FORM) };
        let ring = [Some([right, lower]), Some([left, upper]), first, None];
        if [second, fourth, fifth, places.next()] != ring {
            return Err(FORM);
        }
        Ok([[right, upper], [left, lower]].map(|place| place.map(f64::from_bits)))
    }

    /// Returns the places of a polygon without the first one again, which the connector puts behind
    /// the last where the two differ. A polygon that ends where it begins is sent as the same ring.
    fn open(self) -> Self {
        let Self { octets, is_little } = self;
        match octets.split_last_chunk::<PLACE>() {
            Some((rest, last)) if rest.len() > PLACE && rest.starts_with(last) => {
                Self { octets: rest, is_little }
            }
            _ => self,
        }
    }
}

/// What is left of a well-known binary.
struct Cursor<'a> {
    octets: &'a [u8],
    is_little: bool,
}

impl<'a> Cursor<'a> {
    /// Takes off the order of the octets and the type, which must be this one.
    fn of(wkb: &'a [u8], geometry_type: u32) -> Option<Self> {
        let (order, octets) = wkb.split_first()?;
        let mut cursor = Self { octets, is_little: *order == 1 };
        let is_known = matches!(order, 0 | 1) && cursor.number()? == geometry_type;
        is_known.then_some(cursor)
    }

    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.octets.split_first_chunk::<4>()?;
        self.octets = rest;
        let read = if self.is_little { u32::from_le_bytes } else { u32::from_be_bytes };
        Some(read(*number))
    }

    /// Takes places to the end, one at least.
    fn places(&mut self) -> Option<Places<'a>> {
        let count = usize::try_from(self.number()?).ok()?;
        let is_whole = count > 0 && count.checked_mul(PLACE)? == self.octets.len();
        is_whole.then_some(Places { octets: self.octets, is_little: self.is_little })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::packed::{Packer, Parts};
    use crate::decode::value::semantic::Literal;

    fn wkb(geometry_type: u32, places: &[Place]) -> Vec<u8> {
        let mut out = [&[1][..], &geometry_type.to_le_bytes()].concat();
        if geometry_type == 3 {
            out.extend(1_u32.to_le_bytes());
        }
        out.extend(u32::try_from(places.len()).unwrap().to_le_bytes());
        out.extend(places.as_flattened().iter().flat_map(|number| number.to_le_bytes()));
        out
    }

    fn check(wkb: &[u8], extensions: &[(&str, &str)], expected: &str) {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        for text in extensions.iter().flat_map(|(name, text)| [name, text]) {
            packer.push(Literal::Text(text));
        }
        let found = Figure::read(Geometry { wkb, srid: None }, Pairs(Parts::new(&packed)));
        let list = |places: Places<'_>| format!("{:?}", places.iter().collect::<Vec<_>>());
        let shown = match found {
            Ok(Figure::Path { is_closed, places }) => format!("path {is_closed} {}", list(places)),
            Ok(Figure::Polygon(places)) => format!("polygon {}", list(places)),
            other => format!("{other:?}"),
        };
        assert_eq!(shown, expected);
    }

    const A: Place = [0.0, -0.0];
    const B: Place = [1.0, 1e300];
    const C: Place = [2.5, 0.5];

    #[test]
    fn a_path_says_whether_it_is_closed() {
        let line = wkb(2, &[A, B]);
        check(
            &line,
            &[("type", "path"), ("closed", "true")],
            "path true [[0.0, -0.0], [1.0, 1e300]]",
        );
        check(
            &line,
            &[("closed", "false"), ("type", "path")],
            "path false [[0.0, -0.0], [1.0, 1e300]]",
        );
        check(&line, &[("type", "path")], &format!("Err({OTHER:?})"));
        check(&line, &[("type", "lseg")], "Ok(Segment([[0.0, -0.0], [1.0, 1e300]]))");
        check(&wkb(2, &[A, B, C]), &[("type", "lseg")], &format!("Err({FORM:?})"));
        check(&line, &[("type", "curve")], &format!("Err({OTHER:?})"));
        check(&line, &[], &format!("Err({OTHER:?})"));
    }

    #[test]
    fn a_polygon_has_its_first_place_once() {
        let check = |places: &[Place], expected: &[Place]| {
            check(&wkb(3, places), &[("type", "polygon")], &format!("polygon {expected:?}"));
        };
        check(&[A, B, C, A], &[A, B, C]);
        check(&[A, B, A], &[A, B]);
        check(&[C], &[C]);
        // What the connector finds equal, it does not close.
        check(&[C, C], &[C, C]);
        check(&[[0.0, 0.0], B, [-0.0, 0.0]], &[[0.0, 0.0], B, [-0.0, 0.0]]);
    }

    #[test]
    fn a_box_is_a_ring_around_its_corners() {
        let [right, upper, left, lower] = [3.0, f64::NAN, -1.0, 0.5];
        let ring = [[right, upper], [right, lower], [left, lower], [left, upper], [right, upper]];
        check(&wkb(3, &ring), &[("type", "box")], "Ok(Box([[3.0, NaN], [-1.0, 0.5]]))");
        let error = format!("Err({FORM:?})");
        check(&wkb(3, &ring[..4]), &[("type", "box")], &error);
        check(&wkb(3, &[A, B, C, A, A]), &[("type", "box")], &error);
        check(&wkb(2, &ring), &[("type", "box")], &error);
    }

    #[test]
    fn octets_that_are_no_figure_are_refused() {
        let line = wkb(2, &[A, B]);
        for wkb in [&line[..line.len() - 1], &line[..7], &[2][..], &[], &wkb(2, &[])] {
            check(wkb, &[("type", "lseg")], &format!("Err({FORM:?})"));
        }
        let big = [&[0, 0, 0, 0, 2, 0, 0, 0, 2][..], &[1.0_f64; 4].map(f64::to_be_bytes).concat()];
        check(&big.concat(), &[("type", "lseg")], "Ok(Segment([[1.0, 1.0], [1.0, 1.0]]))");
    }
}
