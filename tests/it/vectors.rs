//! Vectors of pgvector, from a real source with the extension, into its own types, into arrays, and
//! into a file of SQLite.

use std::path::Path;

use url::Url;

use crate::support::file::file_rows;
use crate::support::world::at;
use crate::support::{Database, Format, LATER, Source, Stack, World, until};

const TABLES: &str = "
CREATE TABLE sample (id int PRIMARY KEY, v public.vector(3), free public.vector,
    h public.halfvec(3), s public.sparsevec(5));
ALTER TABLE sample REPLICA IDENTITY FULL;
INSERT INTO sample VALUES
    (1, '[1,2.5,-3]', '[0.1]', '[1,2.5,-3]', '{1:1.5,5:-2}/5'),
    (2, NULL, NULL, NULL, NULL),
    (3, '[0,-0,3.4028235e38]', '[-1e-45,1.1754944e-38,16777217]', '[65504,-65504,5.9604645e-08]', '{}/5'),
    (4, '[0.1,0.2,0.3]', '[1,2,3,4,5,6,7,8]', '[0.1,0.2,-0]', '{2:0.1,3:3.4028235e38}/5')";

/// The long vector is stored out of line: only with the whole image before it comes again.
const CHANGES: [&str; 5] = [
    "INSERT INTO sample SELECT id + 10, v, free, h, s FROM sample",
    "UPDATE sample SET v = NULL, s = '{3:-1e-45}/5' WHERE id = 11;
     UPDATE sample SET v = '[7,8,9]', free = '[9]', h = '[1,1,1]', s = '{5:5}/5' WHERE id = 12",
    "DELETE FROM sample WHERE id = 3",
    "INSERT INTO sample (id, free) SELECT 20, (SELECT array_agg(i + 0.5) FROM generate_series(1, 1500) AS i)",
    "UPDATE sample SET v = '[1,2,3]' WHERE id = 20",
];

/// What is compared, from columns of pgvector's own types, and from those that the program creates.
const OWN: &str = "id, v, free, h, s";
const CREATED: &str = "id, v::vector, free::vector, h::halfvec, s::sparsevec";

#[test]
fn vectors_arrive_in_their_own_types_and_in_arrays() {
    let world = World::new("vectors");
    let source = Source::at(&Stack::get().vectors_admin, &world.name, TABLES);
    let target = Target::new(&world.name);
    let port = Url::parse(source.database.url()).unwrap().port().unwrap();
    let settings = [("database.port".to_owned(), port.to_string())];
    let json = source.connect_with(Format::Json, "_json", &settings);
    let avro = source.connect_with(Format::Avro, "_avro", &settings);
    let plain = source.connect_with(Format::Plain, "_plain", &settings);
    for schema in ["json", "avro", "plain"] {
        target.database.run(&format!(
            "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO writer;
             CREATE TABLE {schema}.sample (id int PRIMARY KEY, v vector(3), free vector,
                 h halfvec(3), s sparsevec(5), synced_at timestamptz);
             GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.sample TO writer"
        ));
    }
    let ways = [
        ("json", &json, OWN),
        ("avro", &avro, OWN),
        ("plain", &plain, OWN),
        ("created", &json, CREATED),
    ];
    let start = |(schema, prefix, _): &(&str, &String, _)| {
        let setup = world.member(schema).target(&target.url).topics(&format!(r"^{prefix}\..*"));
        let setup = setup.variable("SINK_NAME", schema);
        let setup = setup.variable("KAFKA_GROUP_ID", &format!("{}_{schema}", world.name));
        setup.args(["--table", &format!("{}.*={schema}.{{table}}", world.name)]).start()
    };
    let members = ways.each_ref().map(start);
    let files = [("json_file", &json), ("avro_file", &avro)];
    let files = files.map(|(name, prefix)| (name, prefix, world.folder().join(name)));
    let others = files.each_ref().map(|(name, prefix, file)| {
        let setup = world.member(name).target(&format!("sqlite://{}", file.display()));
        let setup = setup.topics(&format!(r"^{prefix}\..*")).variable("SINK_NAME", name);
        setup.variable("KAFKA_GROUP_ID", &format!("{}_{name}", world.name)).start()
    });

    let until_equal = || {
        for (schema, _, columns) in &ways {
            let expected = source.database.rows(&format!("SELECT {OWN} FROM sample ORDER BY id"));
            let sql = format!("SELECT {columns} FROM {schema}.sample ORDER BY id");
            until(LATER, &format!("{schema} is {expected:?}"), || {
                target.database.has(&format!("{schema}.sample"))
                    && target.database.rows(&sql) == expected
            });
        }
        let expected = source.database.rows(&format!("SELECT {OWN} FROM sample ORDER BY id"));
        for (name, _, file) in &files {
            until(LATER, &format!("{name} is {expected:?}"), || {
                read_back(&target.database, file) == expected
            });
        }
    };
    until_equal();
    for sql in CHANGES {
        source.database.run(sql);
    }
    until_equal();
    let letters = "SELECT count(*) FROM afterimage.dead_letter";
    assert_eq!(target.database.number(letters), 0);
    drop((members, others));
}

/// Reads the rows of a file, spelled as the extension spells what it reads there.
fn read_back(database: &Database, file: &Path) -> Vec<Vec<Option<String>>> {
    let rows = file_rows(file, "sample", &["id", "v", "free", "h", "s"]);
    if rows.is_empty() {
        return Vec::new();
    }
    let values = rows.iter().map(|row| {
        let cell =
            |text: &Option<String>| text.as_ref().map_or("NULL".to_owned(), |it| format!("'{it}'"));
        format!("({})", row.iter().map(cell).collect::<Vec<_>>().join(", "))
    });
    database.rows(&format!(
        "SELECT id::int, v::vector, free::vector, h::halfvec, s::sparsevec
         FROM (VALUES {}) AS read (id, v, free, h, s) ORDER BY 1",
        values.collect::<Vec<_>>().join(", ")
    ))
}

/// A database with the extension, which goes with the test.
struct Target {
    database: Database,
    /// The writer's.
    url: String,
    name: String,
}

impl Target {
    fn new(name: &str) -> Self {
        let admin = &Stack::get().vectors_admin;
        let server = Database::open(admin);
        server.run(&format!("CREATE DATABASE {name}"));
        server.run(&format!("GRANT CREATE ON DATABASE {name} TO writer"));
        let database = Database::open(&at(admin, name));
        database.run("CREATE EXTENSION vector");
        let url = at(admin, name).replace("postgres:postgres@", "writer:writer@");
        Self { database, url, name: name.to_owned() }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let server = Database::open(&Stack::get().vectors_admin);
        if server.try_run(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).is_err() {
            eprintln!("the database {} is left", self.name);
        }
    }
}
