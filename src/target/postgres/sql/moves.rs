//! What rows leave behind whose keys change.
//!
//! Values stand there as text: what a type prints it reads again without loss.

use crate::rows::{Deletes, Shape};
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::sql::key::matches;
use crate::target::postgres::sql::rows::cells;
use crate::target::postgres::sql::{literal, quote, relation};

/// Forgets what was left long ago: a partition that is further behind than that refuses its creates.
///
/// Parameters: sink, cluster.
pub(in crate::target::postgres) const FORGET_MOVES: &str = "\
DELETE FROM afterimage.key_move
WHERE sink = $1 AND cluster_id = $2
  AND at < pg_catalog.clock_timestamp() - interval '7 days'";

/// Reads the headers of refused records that may be deletes, sent between two moments. A tombstone has
/// those of its delete.
///
/// Parameters: sink, cluster, topic, the moments in milliseconds since the epoch.
pub(in crate::target::postgres) const REFUSED_DELETES: &str = "\
SELECT headers::pg_catalog.text FROM afterimage.dead_letter
WHERE sink = $1 AND cluster_id = $2 AND topic = $3
  AND record_timestamp BETWEEN pg_catalog.to_timestamp($4::pg_catalog.int8 / 1000.0)
    AND pg_catalog.to_timestamp($5::pg_catalog.int8 / 1000.0)
  AND value IS NOT NULL AND headers IS NOT NULL";

const LEAVE: &str = "\
INSERT INTO afterimage.key_move (sink, cluster_id, topic, place, column_name, state, value)";

/// Leaves the values of the target's rows behind; of a row that is not there, that it is absent,
/// unless its values stand in the batch, and of one that an earlier batch has written another row
/// over. What was left before is not changed.
///
/// Parameters: sink, cluster, topics, places, whether each is refused, whether the batch has its
/// values, partitions, transactions, places as numbers, keys with their tables, an array for each
/// column of the key.
pub(in crate::target::postgres) fn leave(
    shape: &Shape,
    columns: &[usize],
    wires: &[&Wire],
) -> String {
    let key = shape.key.iter().zip(wires.iter().copied()).zip(11..);
    let list = key.map(|((column, wire), n)| format!("{} AS c{column}", cells(wire, n)));
    let list = list.collect::<Vec<_>>().join(", ");
    let values = values(shape, columns, |_, name| format!("t.{name}"));
    let mut matches = matches(shape);
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        matches.push_str(&format!(" AND t.{} IS NULL", quote(deleted_at)));
    }
    format!(
        "{LEAVE}\n\
         SELECT $1, $2, s.topic, s.place, v.name, CASE WHEN s.is_refused THEN 'refused'\n  \
           WHEN t.ctid IS NULL OR o.is_over THEN 'absent' ELSE 'present' END, v.value\n\
         FROM (SELECT unnest($3::pg_catalog.text[]) AS topic, unnest($4::pg_catalog.text[]) AS place,\n  \
           unnest($5::pg_catalog.bool[]) AS is_refused,\n  \
           unnest($6::pg_catalog.bool[]) AS is_in_batch,\n  \
           unnest($7::pg_catalog.int4[]) AS \"partition\",\n  \
           unnest($8::pg_catalog.int8[]) AS transaction, unnest($9::pg_catalog.int8[]) AS lsn,\n  \
           unnest($10::pg_catalog.bytea[]) AS key, {list}) AS s\n\
         LEFT JOIN LATERAL (\n  \
           SELECT k.was_taken AND (k.left_at IS NULL OR k.left_at = s.lsn) AS is_over\n  \
           FROM afterimage.key_taken AS k\n  \
           WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = s.topic\n    \
             AND k.\"partition\" = s.\"partition\" AND k.transaction = s.transaction\n    \
             AND k.key_hash = pg_catalog.sha256(s.key) AND k.came_at <= s.lsn\n  \
           ORDER BY k.came_at DESC LIMIT 1\n\
         ) AS o ON true\n\
         LEFT JOIN {} AS t ON {matches}\n\
         CROSS JOIN LATERAL (VALUES {values}) AS v (name, value)\n\
         WHERE t.ctid IS NOT NULL OR s.is_refused OR NOT s.is_in_batch\n\
         ON CONFLICT DO NOTHING",
        relation(&shape.table.name)
    )
}

/// Leaves values of the batch behind. Parameters: sink, cluster, topics, places, an array for each
/// of the columns.
pub(in crate::target::postgres) fn leave_of_batch(
    shape: &Shape,
    columns: &[usize],
    wires: &[&Wire],
) -> String {
    let list = columns.iter().zip(wires.iter().copied()).zip(5..);
    let list = list.map(|((column, wire), n)| format!("{} AS c{column}", cells(wire, n)));
    let list = list.collect::<Vec<_>>().join(", ");
    let values = values(shape, columns, |column, _| format!("s.c{column}"));
    format!(
        "{LEAVE}\n\
         SELECT $1, $2, s.topic, s.place, v.name, 'present', v.value\n\
         FROM (SELECT unnest($3::pg_catalog.text[]) AS topic, unnest($4::pg_catalog.text[]) AS place,\n  \
           {list}) AS s\n\
         CROSS JOIN LATERAL (VALUES {values}) AS v (name, value)\n\
         ON CONFLICT DO NOTHING"
    )
}

/// Reads how many values were left, how many of them are there and wanted, and those, each as its
/// cells are. Parameters: sink, cluster, topic, place, the columns' names.
pub(in crate::target::postgres) fn find_left(
    shape: &Shape,
    columns: &[usize],
    wires: &[Wire],
) -> String {
    let wanted = columns.iter().filter_map(|&column| {
        let (column, wire) = shape.columns.get(column).zip(wires.get(column))?;
        let value = format!(
            "(pg_catalog.array_agg(m.value) FILTER (WHERE m.column_name = {}))[1]",
            literal(&column.name)
        );
        Some(match &wire.cast {
            // The cell is a text that the server reads.
            Some(_) => value,
            None => format!("{value}::{}", column.type_name),
        })
    });
    let counts = "pg_catalog.count(*), pg_catalog.count(*) FILTER \
                  (WHERE m.state = 'present' AND m.column_name = ANY ($5::pg_catalog.text[]))";
    let list = [counts.to_owned()].into_iter().chain(wanted).collect::<Vec<_>>().join(",\n  ");
    format!(
        "SELECT {list}\nFROM afterimage.key_move AS m\n\
         WHERE m.sink = $1 AND m.cluster_id = $2 AND m.topic = $3 AND m.place = $4"
    )
}

fn values(shape: &Shape, columns: &[usize], value: impl Fn(usize, String) -> String) -> String {
    let named = columns.iter().filter_map(|&column| Some((column, shape.columns.get(column)?)));
    let pairs = named.map(|(index, column)| {
        let value = value(index, quote(&column.name));
        format!("({}::pg_catalog.text, {value}::pg_catalog.text)", literal(&column.name))
    });
    pairs.collect::<Vec<_>>().join(", ")
}
