//! How rows are found by their keys.

use crate::rows::Shape;
use crate::table::Column;
use crate::target::postgres::sql::quote;

/// Compares the key of table `t` with the columns of `s`.
pub(super) fn matches(shape: &Shape) -> String {
    let key = shape.key.iter().filter_map(|&index| Some((index, shape.columns.get(index)?)));
    let pairs = key.map(|(index, column)| {
        let pair = format!("t.{} = s.c{index}", quote(&column.name));
        if !is_caseless(column) {
            return pair;
        }
        let text = "::pg_catalog.text";
        format!("{pair} AND t.{}{text} = s.c{index}{text}", quote(&column.name))
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// Returns whether a key that the source tells from another may be equal to it here: a row that
/// goes from one to the other is deleted under the first and created under the second, and these
/// two may come in either order.
pub(super) fn is_caseless(column: &Column) -> bool {
    let type_name = column.base_name.as_ref().unwrap_or(&column.type_name);
    type_name.rsplit('.').next().is_some_and(|name| name == "citext")
}
