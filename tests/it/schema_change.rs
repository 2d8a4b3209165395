//! The source's tables change while members run, and the target's tables follow.

use crate::support::{Database, Format, LATER, Member, SOON, Stack, World, judge, kafka, until};

const TABLE: &str = "
CREATE TABLE t (id int PRIMARY KEY, small smallint NOT NULL, n int NOT NULL,
    amount numeric(10, 2) NOT NULL, score real, at timestamp(3), code bit(3), gone int NOT NULL,
    old text);
INSERT INTO t SELECT i, i, i, i + 0.25, i / 4.0, '2024-01-01 00:00:00.125', B'101', i, 'old ' || i
    FROM generate_series(1, 20) AS i";

/// Each way in which a table of the source may grow, and rows that only the new form holds.
const GROWTH: [(&str, &str, &str); 8] = [
    (
        "integers",
        "ALTER TABLE t ALTER small TYPE int, ALTER n TYPE bigint",
        "INSERT INTO t VALUES ({id}, 40000, 5000000000, 1, 1, NULL, NULL, 1, NULL)",
    ),
    (
        "numbers",
        "ALTER TABLE t ALTER amount TYPE numeric(14, 4), ALTER score TYPE double precision",
        "INSERT INTO t VALUES ({id}, 1, 1, 9999999999.0001, 1e300, NULL, NULL, 1, NULL)",
    ),
    (
        "an integer to a number",
        "ALTER TABLE t ALTER n TYPE numeric(24, 1)",
        "INSERT INTO t VALUES ({id}, 1, 99999999999999999999999.5, 1, 1, NULL, NULL, 1, NULL)",
    ),
    (
        "times",
        "ALTER TABLE t ALTER at TYPE timestamp(6)",
        "INSERT INTO t VALUES ({id}, 1, 1, 1, 1, '2024-01-01 00:00:00.123456', B'101', 1, NULL)",
    ),
    (
        "no more NOT NULL",
        "ALTER TABLE t ALTER small DROP NOT NULL, ALTER amount DROP NOT NULL",
        "INSERT INTO t VALUES ({id}, NULL, 1, NULL, 1, NULL, NULL, 1, NULL)",
    ),
    ("a column less", "ALTER TABLE t DROP gone", "INSERT INTO t VALUES ({id}, 1, 1, 1)"),
    (
        "another name",
        "ALTER TABLE t RENAME old TO \"New \"\"name\"\"\"; UPDATE t SET small = small",
        "INSERT INTO t VALUES ({id}, 1, 1, 1, 1, NULL, NULL, 'new')",
    ),
    (
        "the key",
        "ALTER TABLE t ALTER id TYPE bigint; DELETE FROM t WHERE id = 600;
         UPDATE t SET small = 7 WHERE id = 601",
        "INSERT INTO t (id, n) VALUES (5000000000 + {id}, 1)",
    ),
];

#[test]
fn f62_a_table_grows_with_its_source_while_two_members_share_its_partitions() {
    let world = World::new("grow");
    let source = world.source(TABLE);
    let name = &world.name;
    kafka::create_topic(&format!("{name}.{name}.t"), 4, &[]);
    source.connect(Format::Json);
    let members = ["one", "two"].map(|label| world.member(label).start());
    for member in &members {
        member.until_ready();
    }
    world.until_equal(&["t"]);

    for ((what, change, insert), turn) in GROWTH.iter().zip(1_i32..) {
        source.database.run(change);
        // So many keys that none of the four partitions goes without (of 20 keys, one in a hundred
        // runs leaves one out), so that both members meet the change at once.
        let ids = turn * 100..turn * 100 + 60;
        let inserts = ids.map(|id| insert.replace("{id}", &id.to_string())).collect::<Vec<_>>();
        source.database.run(&inserts.join(";"));
        if *what == "the key" {
            release(&world);
        }
        world.until_equal(&["t"]);
        eprintln!("{what} arrived");
    }

    let target = &world.target;
    assert_eq!(
        types(target, name),
        [
            "id bigint not null",
            "small integer",
            "n numeric(24,1) not null",
            "amount numeric(14,4)",
            "score double precision",
            "at timestamp(6) without time zone",
            "code bit(3)",
            "gone integer",
            "old text",
            "synced_at timestamp with time zone not null",
            "New \"name\" text",
        ]
    );
    let kept = format!(
        "SELECT count(*) FROM {name}.t WHERE id <= 20 AND gone = id AND old = 'old ' || id"
    );
    assert_eq!(target.number(&kept), 20, "what stood in columns that are gone stays");
    let empty =
        format!("SELECT count(*) FROM {name}.t WHERE id BETWEEN 700 AND 759 AND gone IS NULL");
    assert_eq!(target.number(&empty), 60, "rows from then on have NULL there");
    assert_eq!(world.dead_letters(), []);
    assert_eq!(members.map(Member::terminate), [0, 0]);
}

/// Lets a table's partitions go on once all have stopped: keys of another type move between them.
fn release(world: &World) {
    let topic = format!("{0}.{0}.t", world.name);
    let stopped = format!(
        "SELECT count(*) FROM afterimage.checkpoint WHERE topic = '{topic}' AND state = 'stopped'
             AND state_reason LIKE 'key_encoding_changed%'"
    );
    until(LATER, "all partitions stop", || world.target.number(&stopped) == 4);
    let operator = world.member("operator").topics(&topic).variable("USER", "ada");
    let command = ["checkpoint", "release", "--topic", &topic, "--reason", "nothing lags behind"];
    let ended = operator.run(&command, SOON);
    assert_eq!(ended.code, 0, "{}", ended.error);
}

/// Returns the columns of the world's table t.
fn types(target: &Database, schema: &str) -> Vec<String> {
    let rows = target.rows(&format!(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod)
            || CASE WHEN attnotnull THEN ' not null' ELSE '' END
         FROM pg_attribute WHERE attrelid = '{schema}.t'::regclass AND attnum > 0 ORDER BY attnum"
    ));
    rows.into_iter().flatten().flatten().collect()
}

#[test]
fn a_text_grows_with_its_source_where_the_connector_says_its_length() {
    for format in [Format::Json, Format::Avro] {
        let world = World::new("growtext");
        let source = world.source(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(5), c char(3), free varchar(4), n numeric(4, 1));
             INSERT INTO t VALUES (1, 'five5', 'abc', 'four', 1.5)",
        );
        source.connect_with(
            format,
            "",
            &[("column.propagate.source.type".to_owned(), ".*".to_owned())],
        );
        let member = world.member("member").start();
        world.until_equal(&["t"]);
        let before = ["v character varying(5)", "c character(3)", "free character varying(4)"];
        assert_eq!(types(&world.target, &world.name)[1..4], before);

        source.database.run(
            "ALTER TABLE t ALTER v TYPE varchar(20), ALTER c TYPE char(6), ALTER free TYPE text;
             INSERT INTO t VALUES (2, 'twenty letters of it', 'abcdef', repeat('x', 5000), 1.5);
             UPDATE t SET v = 'a longer one' WHERE id = 1",
        );
        world.until_equal(&["t"]);

        let after = ["v character varying(20)", "c character(6)", "free text"];
        assert_eq!(types(&world.target, &world.name)[1..4], after);
        // A shorter one holds less, and what stands there stays.
        source.database.run(
            "DELETE FROM t WHERE id = 2; ALTER TABLE t ALTER v TYPE varchar(15);
             INSERT INTO t VALUES (3, 'fifteen letters', 'abc', 'x', 1.5)",
        );
        world.until_equal(&["t"]);
        assert_eq!(types(&world.target, &world.name)[1..4], after);
        assert_eq!(world.dead_letters(), []);
        assert_eq!(member.terminate(), 0);
    }
}

#[test]
fn a_sqlite_file_follows_as_far_as_it_can() {
    let world = World::new("growlite");
    let source = world.source(TABLE);
    // Of one partition, so that no key can move when its type changes.
    kafka::create_topic(&format!("{0}.{0}.t", world.name), 1, &[]);
    source.connect(Format::Json);
    let target = format!("sqlite://{}", world.folder().join("target.db").display());
    let member = world.member("member").target(&target).start();
    let table = [format!("{}.t", world.name)];
    let admin = &Stack::get().source_admin;
    judge::until_equal(LATER, admin, &target, &table);

    for ((what, change, insert), turn) in GROWTH.iter().zip(1_i32..) {
        // The one that SQLite cannot follow comes last.
        if *what != "an integer to a number" {
            source.database.run(change);
        }
        if *what == "numbers" {
            // A decimal is text there: it gets the digits of its new type when its row comes again.
            source.database.run("UPDATE t SET small = small");
        }
        let ids = turn * 100..turn * 100 + 5;
        let insert = insert.replace("99999999999999999999999.5", "9");
        let inserts = ids.map(|id| insert.replace("{id}", &id.to_string())).collect::<Vec<_>>();
        source.database.run(&inserts.join(";"));
        judge::until_equal(LATER, admin, &target, &table);
        eprintln!("{what} arrived");
    }

    source.database.run("ALTER TABLE t ALTER n TYPE numeric(24, 1)");
    source.database.run("UPDATE t SET n = 1.5 WHERE id = 1");
    let line = member.until_logged(&["stopped a partition", "column_narrow"]);
    assert!(line.contains("the target cannot change it"), "{line}");
    assert_eq!(member.terminate(), 0);
}

#[test]
fn a_column_that_comes_with_a_default_is_null_in_rows_that_did_not_change_since() {
    let world = World::new("default");
    let source = world.source("CREATE TABLE t (id int PRIMARY KEY)");
    source.database.run("INSERT INTO t VALUES (1), (2)");
    source.connect(Format::Json);
    let _member = world.member("member").start();
    world.until_equal(&["t"]);

    // No record says what these rows hold now, and the schema's default is no proof: for now() it
    // is 1970, and one that was set later has filled nothing.
    source.database.run("ALTER TABLE t ADD n int DEFAULT 7, ADD at timestamptz DEFAULT now()");
    source.database.run("INSERT INTO t VALUES (3), (4)");
    let count = format!("SELECT count(*) FROM {}.t", world.name);
    until(SOON, "the rows arrive", || world.target.number(&count) == 4);
    let null = format!(
        "SELECT string_agg(id::text, ' ' ORDER BY id) FROM {}.t WHERE n IS NULL AND at IS NULL",
        world.name
    );
    assert_eq!(world.target.value(&null).as_deref(), Some("1 2"));

    source.database.run("UPDATE t SET n = n");
    world.until_equal(&["t"]);
}

#[test]
fn a_row_that_comes_again_has_nothing_of_the_one_before() {
    let world = World::new("again");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int, note text); INSERT INTO t VALUES (1, 1, 'old')",
    );
    let prefix = source.connect(Format::Json);
    let member = world.member("member").start();
    world.until_equal(&["t"]);
    let name = &world.name;
    world.target.run(&format!("ALTER TABLE {name}.t ADD remark text DEFAULT 'none'"));
    world.target.run(&format!("UPDATE {name}.t SET remark = 'ours'"));
    source.database.run("ALTER TABLE t DROP note; INSERT INTO t VALUES (2, 2)");
    world.until_equal(&["t"]);
    assert_eq!(member.terminate(), 0);

    // All lies there before a member reads it: in one batch, and in one each.
    for rows in ["50000", "1"] {
        let before = kafka::ends(&format!("{prefix}.")).values().sum::<i64>();
        source.database.run("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 10)");
        until(LATER, "delete, tombstone and create are there", || {
            kafka::ends(&format!("{prefix}.")).values().sum::<i64>() == before + 3
        });
        let _member = world.member("again").args(["--batch-rows", rows]).start();
        world.until_at_ends(&prefix);
        let row = format!("SELECT concat_ws('|', n, note, remark) FROM {name}.t WHERE id = 1");
        assert_eq!(world.target.value(&row).as_deref(), Some("10|none"), "--batch-rows {rows}");
        world.target.run(&format!("UPDATE {name}.t SET note = 'old', remark = 'ours'"));
    }
}

#[test]
fn a_column_that_the_target_generates_keeps_its_own_value() {
    let world = World::new("generated");
    let name = &world.name;
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int, total int NOT NULL);
         INSERT INTO t SELECT i, i, i FROM generate_series(1, 3000) AS i",
    );
    world.target.run(&format!(
        "CREATE SCHEMA {name};
         CREATE TABLE {name}.t (id int PRIMARY KEY, n int,
             total int GENERATED ALWAYS AS (n * 3) STORED, synced_at timestamptz NOT NULL);
         CREATE TABLE {name}.way (statement text, rows bigint);
         CREATE FUNCTION {name}.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN INSERT INTO {name}.way SELECT split_part(current_query(), ' ', 1), count(*) FROM came;
                RETURN NULL; END $$;
         CREATE TRIGGER note AFTER INSERT ON {name}.t REFERENCING NEW TABLE AS came
             EXECUTE FUNCTION {name}.note();
         ALTER SCHEMA {name} OWNER TO writer; ALTER TABLE {name}.t OWNER TO writer"
    ));
    source.connect(Format::Json);

    let _member = world.member("member").start();
    let rows = |what: &str| {
        let rows = format!("SELECT count(*) FROM {name}.t WHERE total = n * 3 AND {what}");
        until(LATER, what, || world.target.number(&rows) == 3000);
    };
    rows("n = id");
    // A batch of few rows, as the first one may be, is not copied.
    let ways = format!("SELECT DISTINCT statement FROM {name}.way WHERE rows >= 200");
    assert_eq!(world.target.rows(&ways), [[Some("COPY".to_owned())]]);

    source.database.run("UPDATE t SET n = n + 1, total = 0; DELETE FROM t WHERE id = 7");
    source.database.run("INSERT INTO t VALUES (7, 8, 1)");
    rows("n = id + 1");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn an_identity_takes_the_sources_value_also_when_it_changes() {
    let world = World::new("identity");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL); INSERT INTO t VALUES (1, 10)",
    );
    let name = &world.name;
    world.target.run(&format!(
        "CREATE SCHEMA {name}; CREATE TABLE {name}.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             n int GENERATED ALWAYS AS IDENTITY, synced_at timestamptz NOT NULL);
         ALTER SCHEMA {name} OWNER TO writer; ALTER TABLE {name}.t OWNER TO writer"
    ));
    source.connect(Format::Json);

    let checking = world.member("checking").args(["--schema-changes", "check"]).start();
    let line = checking.until_logged(&["stopped a partition", "column_narrow"]);
    assert!(line.contains("is an identity that is generated always"), "{line}");
    assert_eq!(checking.terminate(), 0);

    let _member = world.member("member").start();
    world.until_equal(&["t"]);
    source.database.run("UPDATE t SET n = 11; INSERT INTO t VALUES (2, 5)");
    world.until_equal(&["t"]);

    // An identity cannot be NULL: the rows that have none are refused, and the others go on.
    source.database.run("ALTER TABLE t ALTER n DROP NOT NULL");
    source.database.run("INSERT INTO t VALUES (3, NULL), (4, 7); UPDATE t SET n = 12 WHERE id = 1");
    let rows = format!("SELECT string_agg(id || ' ' || n, ', ' ORDER BY id) FROM {name}.t");
    until(LATER, "the others go on", || {
        world.target.value(&rows).as_deref() == Some("1 12, 2 5, 4 7")
    });
    until(LATER, "the row is kept", || world.dead_letters().len() == 1);
    let (_, reason, detail) = world.dead_letters().remove(0);
    assert_eq!(reason, "value_unfit");
    assert!(detail.contains("column \"n\" is null"), "{detail}");
}

#[test]
fn a_type_that_cannot_be_widened_stops_its_partition_alone() {
    let world = World::new("unfit");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1);
         CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)",
    );
    source.connect(Format::Json);
    let member = world.member("member").start();
    world.until_equal(&["t", "other"]);

    source.database.run("ALTER TABLE t ALTER n TYPE text; INSERT INTO t VALUES (2, 'two')");
    source.database.run("INSERT INTO other VALUES (2)");
    world.until_equal(&["other"]);
    let line = member.until_logged(&["stopped a partition", "column_unfit"]);
    let name = &world.name;
    let detail =
        format!(r#"column \"n\" of table \"{name}.t\": no conversion from text to integer"#);
    assert!(line.contains(&detail), "{line}");
    assert_eq!(world.dead_letters(), []);

    // Mended by hand, it goes on from the checkpoint.
    world.target.run(&format!("ALTER TABLE {name}.t ALTER n TYPE text"));
    assert_eq!(member.terminate(), 0);
    let _again = world.member("again").start();
    world.until_equal(&["t", "other"]);
}

#[test]
fn a_change_is_planned_before_it_is_made_and_stops_where_it_may_not_be_made() {
    let world = World::new("narrow");
    let source =
        world.source("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, gone int NOT NULL)");
    source.database.run("INSERT INTO t VALUES (1, 1, 1)");
    source.connect(Format::Json);
    let first = world.member("first").start();
    world.until_equal(&["t"]);
    assert_eq!(first.terminate(), 0);

    source.database.run(
        "ALTER TABLE t ALTER n TYPE bigint, ALTER n DROP NOT NULL, DROP gone, ADD x date;
         INSERT INTO t VALUES (2, 5000000000), (3, NULL)",
    );
    let name = &world.name;
    let topic = format!("{name}.{name}.t");
    until(SOON, "the rows are records", || kafka::ends(&topic).values().sum::<i64>() >= 3);
    let plan = world.member("plan").run(&["plan"], SOON);
    assert_eq!(plan.code, 0, "{}", plan.error);
    let table = format!("ALTER TABLE \"{name}\".\"t\"");
    let expected = [
        format!("{table} ALTER COLUMN \"n\" TYPE bigint;"),
        format!("{table} ALTER COLUMN \"n\" DROP NOT NULL;"),
        format!("{table} ADD COLUMN IF NOT EXISTS \"x\" date;"),
        format!("{table} ALTER COLUMN \"gone\" DROP NOT NULL;"),
    ];
    assert_eq!(plan.out.split_terminator("\n\n").collect::<Vec<_>>(), expected);

    // All that somebody else must run, whatever the writer itself may do.
    let bootstrap = world.member("bootstrap").args(["--schema-changes", "check", "--bootstrap"]);
    let bootstrap = bootstrap.run(&["plan"], SOON);
    assert_eq!(bootstrap.code, 0, "{}", bootstrap.error);
    let own = "CREATE TABLE IF NOT EXISTS afterimage.checkpoint".to_owned();
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON \"{name}\".\"t\" TO \"writer\";");
    for statement in expected.iter().chain([&own, &grant]) {
        assert!(bootstrap.out.contains(statement), "{statement} is not in {}", bootstrap.out);
    }

    let strict = world.member("strict").args(["--schema-changes", "check"]).start();
    let line = strict.until_logged(&["stopped a partition"]);
    assert!(line.contains("column_narrow") && line.contains(r#"column \"n\""#), "{line}");
    assert_eq!(strict.terminate(), 0);

    // By somebody else, as `check` wants it.
    world.target.run(&plan.out);
    let strict = world.member("strict").args(["--schema-changes", "check"]).start();
    world.until_equal(&["t"]);
    assert_eq!(strict.terminate(), 0);

    source.database.run(
        "ALTER TABLE t ALTER n TYPE numeric(30), ADD y int;
         INSERT INTO t VALUES (4, 1e25, NULL, 4), (5, 5, NULL, 5)",
    );
    until(SOON, "the rows are records", || kafka::ends(&topic).values().sum::<i64>() >= 5);
    let lax = world.member("lax").args(["--schema-changes", "ignore", "--until-caught-up"]);
    let lax = lax.run(&["run"], LATER);
    assert_eq!(lax.code, 0, "{}", lax.error);
    let said = |words: &str| lax.error.lines().filter(|line| line.contains(words)).count();
    assert_eq!(said("ignores an unknown column"), 1, "{}", lax.error);
    assert_eq!(said("leaves a column as it is"), 1, "{}", lax.error);
    let letters = world.dead_letters();
    assert!(
        matches!(letters.as_slice(), [(_, reason, _)] if reason == "value_unfit"),
        "{letters:?}"
    );
    let arrived = format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM {name}.t");
    assert_eq!(world.target.value(&arrived).as_deref(), Some("1 2 3 5"));
}
