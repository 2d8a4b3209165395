//! Structured times as the connector 3.7.0 sends them, which the stack does not run.

use expect_test::expect;

use crate::decode::testing::{Bench, captured_names};

/// Decodes the records of a format, one line each.
fn lines(format: &str) -> String {
    let mut bench = Bench::default();
    let names = captured_names("structured");
    let ours = names.iter().filter_map(|name| {
        let situation = name.strip_prefix("structured/")?.strip_prefix(format)?;
        Some(format!("{situation}: {}\n", bench.captured(name)))
    });
    ours.collect()
}

#[test]
fn structured_times_become_the_sources_values() {
    expect![[r#"
        bc: Create t id=8 d=day -735160 tm=null tm3=null tz=null ts=wall -62135596801.000000000 ts3=null tstz=moment -62135596801.000000000 iv=1 months -1 days 0 ns ds=null tss=null
        before-epoch: Create t id=7 d=day -1 tm=time 86399999999000 tm3=time 86399999000000 tz=time 86399999999000 offset -1800 ts=wall -1.999999000 ts3=wall -1.999000000 tstz=moment -50401.999999000 iv=0 months 0 days -1000 ns ds=null tss=null
        earliest: Create t id=3 d=day -2440550 tm=time 0 tm3=time 0 tz=time 0 offset 57599 ts=wall -210863520000.000000000 ts3=wall -210863520000.000000000 tstz=moment -210863433600.000000000 iv=-2136000000 months 0 days 0 ns ds=[] tss=[]
        latest: Create t id=4 d=day 2145042905 tm=null tm3=null tz=time 86400000000000 offset -57599 ts=wall 9224318015999.999999000 ts3=wall 9224318015999.999000000 tstz=moment 9224318015999.999999000 iv=2136000011 months 31 days 3020399999999000 ns ds=null tss=null
        negative-infinity: Create t id=6 d=NegativeInfinity tm=null tm3=null tz=null ts=wall NegativeInfinity ts3=wall NegativeInfinity tstz=moment NegativeInfinity iv=-14 months 3 days -14706000007000 ns ds=[NegativeInfinity] tss=[wall NegativeInfinity]
        null: Create t id=2 d=null tm=null tm3=null tz=null ts=null ts3=null tstz=null iv=null ds=null tss=null
        ordinary: Create t id=1 d=day 17109 tm=time 49890123456000 tm3=time 49890123000000 tz=time 49890789000000 offset 7200 ts=wall 1478267490.123456000 ts3=wall 1478267490.123000000 tstz=moment 1478260290.123456000 iv=14 months 3 days 14706000007000 ns ds=[day 17109, null] tss=[wall 1478267490.123456000]
        positive-infinity: Create t id=5 d=PositiveInfinity tm=null tm3=null tz=null ts=wall PositiveInfinity ts3=wall PositiveInfinity tstz=moment PositiveInfinity iv=null ds=[PositiveInfinity] tss=[wall PositiveInfinity]
    "#]].assert_eq(&lines("json-"));
}

#[test]
fn avro_says_what_json_says() {
    assert_eq!(lines("avro-"), lines("json-"));
}
