//! The source: a database of plain rows, and the changes that its users make to them.
//!
//! Its rows are what the proof holds the target to. Nothing here knows how the product decodes or
//! stores a value.

use std::collections::BTreeMap;

/// The rows that a table grows to: beyond it as many rows are deleted as made, so that the memory
/// of a long run is bounded.
const ROWS_MAX: usize = 150_000;

/// From this length on the source keeps a note out of line, and an update that does not touch it
/// leaves it out of the log.
pub(super) const LONG_NOTE: usize = 2_000;

/// The source database.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) users: Rows<User>,
    pub(super) orders: Rows<Order>,
    random: Random,
}

/// The rows of one table.
#[derive(Debug)]
pub(super) struct Rows<R> {
    pub(super) by_id: BTreeMap<i64, R>,
    /// The keys in no order, to draw from.
    ids: Vec<i64>,
    newest_id: i64,
    /// A key that was deleted, and may come back.
    freed: Option<i64>,
}

/// A row of `users`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct User {
    pub(super) name: Box<str>,
    pub(super) email: Option<Box<str>>,
    pub(super) active: bool,
    pub(super) token: u128,
    pub(super) profile: Option<Box<str>>,
    pub(super) age: Option<i16>,
    pub(super) created_at: Time,
}

/// A row of `orders`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) user_id: i64,
    pub(super) status: &'static str,
    /// Hundredths, of at most twelve digits.
    pub(super) amount: i64,
    pub(super) quantity: i32,
    pub(super) note: Option<Box<str>>,
    pub(super) created_at: Time,
    pub(super) updated_at: Option<Time>,
}

/// A time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) year: u16,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) micros: u32,
}

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Users,
    Orders,
}

/// A change that the source has made: the rows already are as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) what: What,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A row that was there before the log begins.
    Read(i64),
    Create(i64),
    Update {
        id: i64,
        /// Whether the log lacks the note, because it is long and did not change.
        is_note_unavailable: bool,
    },
    Delete(i64),
    /// A row got another key.
    Move {
        from: i64,
        to: i64,
    },
}

impl Source {
    /// Starts without rows; the same seed makes the same changes.
    pub(super) fn new(seed: u64) -> Self {
        Self { users: Rows::default(), orders: Rows::default(), random: Random(seed) }
    }

    /// Makes a row for the snapshot.
    pub(super) fn fill(&mut self) -> Change {
        let table = self.draw_table();
        Change { table, what: What::Read(self.create(table, false)) }
    }

    /// Makes the next change.
    pub(super) fn change(&mut self) -> Change {
        let table = self.draw_table();
        let count = match table {
            Table::Users => self.users.ids.len(),
            Table::Orders => self.orders.ids.len(),
        };
        let creates_until = if count < ROWS_MAX { 40 } else { 25 };
        let what = match self.random.below(100) {
            _ if count == 0 => What::Create(self.create(table, true)),
            roll if roll < creates_until => What::Create(self.create(table, true)),
            roll if roll < creates_until + 38 => self.update(table),
            roll if roll < creates_until + 41 => self.relocate(table),
            _ => self.delete(table),
        };
        Change { table, what }
    }

    fn draw_table(&mut self) -> Table {
        if self.random.below(3) == 0 { Table::Users } else { Table::Orders }
    }

    fn create(&mut self, table: Table, may_reuse: bool) -> i64 {
        let may_reuse = may_reuse && self.random.below(50) == 0;
        match table {
            Table::Users => {
                let id = self.users.id_for_new(may_reuse);
                let user = self.random.user(id);
                self.users.insert(id, user);
                id
            }
            Table::Orders => {
                let id = self.orders.id_for_new(may_reuse);
                let order = self.random.order(self.users.newest_id);
                self.orders.insert(id, order);
                id
            }
        }
    }

    fn update(&mut self, table: Table) -> What {
        let random = &mut self.random;
        let mut is_note_unavailable = false;
        let id = match table {
            Table::Users => {
                let id = self.users.draw(random);
                let new = random.user(id);
                if let Some(user) = self.users.by_id.get_mut(&id) {
                    let (token, created_at) = (user.token, user.created_at);
                    *user = User { token, created_at, ..new };
                }
                id
            }
            Table::Orders => {
                let id = self.orders.draw(random);
                let new = random.order(self.users.newest_id);
                if let Some(order) = self.orders.by_id.get_mut(&id) {
                    let note = match order.note.take() {
                        Some(note) if note.len() >= LONG_NOTE && random.below(5) > 0 => {
                            is_note_unavailable = true;
                            Some(note)
                        }
                        _ => new.note,
                    };
                    let (created_at, updated_at) = (order.created_at, Some(random.time()));
                    *order = Order { created_at, updated_at, note, ..new };
                }
                id
            }
        };
        What::Update { id, is_note_unavailable }
    }

    fn delete(&mut self, table: Table) -> What {
        match table {
            Table::Users => {
                let id = self.users.draw(&mut self.random);
                self.users.remove(id);
                What::Delete(id)
            }
            Table::Orders => {
                let id = self.orders.draw(&mut self.random);
                self.orders.remove(id);
                What::Delete(id)
            }
        }
    }

    /// Gives a row another key; one with a long note only changes, since its new image would lack it.
    fn relocate(&mut self, table: Table) -> What {
        match table {
            Table::Users => {
                let from = self.users.draw(&mut self.random);
                self.users.relocate(from)
            }
            Table::Orders => {
                let from = self.orders.draw(&mut self.random);
                let order = self.orders.by_id.get_mut(&from);
                match order {
                    Some(Order { note: Some(note), status, .. }) if note.len() >= LONG_NOTE => {
                        *status = "held";
                        What::Update { id: from, is_note_unavailable: true }
                    }
                    _ => self.orders.relocate(from),
                }
            }
        }
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), ids: Vec::new(), newest_id: 0, freed: None }
    }
}

impl<R> Rows<R> {
    fn id_for_new(&mut self, may_reuse: bool) -> i64 {
        if let Some(id) = self.freed.take().filter(|_| may_reuse) {
            return id;
        }
        self.newest_id += 1;
        self.newest_id
    }

    fn insert(&mut self, id: i64, row: R) {
        self.by_id.insert(id, row);
        self.ids.push(id);
    }

    /// Draws a key, and brings it to the end of the list of keys.
    fn draw(&mut self, random: &mut Random) -> i64 {
        let last = self.ids.len().saturating_sub(1);
        let drawn = random.index(self.ids.len());
        if drawn < last {
            self.ids.swap(drawn, last);
        }
        self.ids.last().copied().unwrap_or_default()
    }

    /// Deletes the row of the key that was drawn last.
    fn remove(&mut self, id: i64) -> Option<R> {
        let drawn = self.ids.pop();
        debug_assert_eq!(drawn, Some(id), "a key is drawn before its row goes");
        self.freed = Some(id);
        self.by_id.remove(&id)
    }

    fn relocate(&mut self, from: i64) -> What {
        let to = self.id_for_new(false);
        if let Some(row) = self.remove(from) {
            self.insert(to, row);
        }
        What::Move { from, to }
    }
}

/// A stream of numbers that looks random (splitmix64).
#[derive(Debug)]
struct Random(u64);

const FIRST_NAMES: [&str; 8] =
    ["Ada", "Grace", "Łukasz", "さくら", "Zoë", "O'Neil", "Mei", "\"Q\""];
const LAST_NAMES: [&str; 8] =
    ["Lovelace", "Hopper", "Żółć", "小林", "Ångström", "🌸", "back\\slash", "tab\tand\nline"];
const STATUSES: [&str; 5] = ["new", "paid", "shipped", "refunded", "lost"];
const PLANS: [&str; 3] = ["free", "pro", "team"];

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(length)).unwrap_or_default()
    }

    fn signed(&mut self, limit: u64) -> i64 {
        i64::try_from(self.below(limit)).unwrap_or(i64::MAX)
    }

    fn small(&mut self, from: u8, count: u64) -> u8 {
        from + u8::try_from(self.below(count)).unwrap_or_default()
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        let index = self.index(words.len());
        words.get(index).copied().unwrap_or_default()
    }

    fn user(&mut self, id: i64) -> User {
        let name = match self.below(100) {
            0 => String::new(),
            number => {
                format!("{} {} {number}", self.pick(&FIRST_NAMES), self.pick(&LAST_NAMES))
            }
        };
        let email = (self.below(10) > 0).then(|| format!("user{id}@example.org").into());
        let profile = (self.below(3) > 0).then(|| {
            let (plan, level) = (self.pick(&PLANS), self.below(1000));
            format!("{{\"plan\": \"{plan}\", \"level\": {level}.10, \"tags\": [\"ü\", null]}}")
                .into()
        });
        let age = match self.below(200) {
            0 => Some(i16::MIN),
            1 => Some(i16::MAX),
            age if age < 100 => i16::try_from(age).ok(),
            _ => None,
        };
        let token = u128::from(self.next()) << 64 | u128::from(self.next());
        let (active, created_at) = (self.below(4) > 0, self.time());
        User { name: name.into(), email, active, token, profile, age, created_at }
    }

    fn order(&mut self, newest_user: i64) -> Order {
        let amount = match self.below(500) {
            0 => 999_999_999_999,
            1 => -999_999_999_999,
            2 => 0,
            3 => -1,
            4 => 128,
            _ => self.signed(10_000_000) - 200_000,
        };
        let quantity = match self.below(500) {
            0 => i32::MIN,
            1 => i32::MAX,
            quantity => i32::try_from(quantity).unwrap_or_default(),
        };
        let user_id = match self.below(1000) {
            0 => i64::MAX,
            1 => i64::MIN,
            _ => self.signed(newest_user.max(1).unsigned_abs()) + 1,
        };
        let note = match self.below(200) {
            0 => Some(self.long_note()),
            roll if roll < 80 => None,
            80 => Some("".into()),
            roll => Some(format!("left at door {roll}, “{}”", self.pick(&LAST_NAMES)).into()),
        };
        let (status, created_at) = (self.pick(&STATUSES), self.time());
        let updated_at = (self.below(2) == 0).then(|| self.time());
        Order { user_id, status, amount, quantity, note, created_at, updated_at }
    }

    fn long_note(&mut self) -> Box<str> {
        let words = (0..LONG_NOTE / 16 + 8).map(|_| format!("{:016x}", self.next()));
        words.collect::<String>().into()
    }

    /// Draws a time of this age, now and then one of another.
    fn time(&mut self) -> Time {
        let year = match self.below(300) {
            0 => 1,
            1 => 1582,
            2 => 9999,
            _ => 1960 + u16::from(self.small(0, 80)),
        };
        let micros = match self.below(4) {
            0 => 0,
            1 => 999_999,
            _ => u32::try_from(self.below(1_000_000)).unwrap_or_default(),
        };
        Time {
            year,
            month: self.small(1, 12),
            day: self.small(1, 28),
            hour: self.small(0, 24),
            minute: self.small(0, 60),
            second: self.small(0, 60),
            micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_rows_are_what_the_changes_say() {
        let mut source = Source::new(1);
        let mut keys = HashSet::new();
        let mut seen = [0; 6];
        for number in 0..50_000 {
            let change = if number < 1000 { source.fill() } else { source.change() };
            let key = |id| (change.table == Table::Users, id);
            match change.what {
                What::Read(id) | What::Create(id) => {
                    assert!(keys.insert(key(id)), "{change:?}");
                    seen[usize::from(number >= 1000)] += 1;
                }
                What::Update { id, is_note_unavailable } => {
                    assert!(keys.contains(&key(id)), "{change:?}");
                    seen[2 + usize::from(is_note_unavailable)] += 1;
                }
                What::Delete(id) => {
                    assert!(keys.remove(&key(id)), "{change:?}");
                    seen[4] += 1;
                }
                What::Move { from, to } => {
                    assert!(keys.remove(&key(from)) && keys.insert(key(to)), "{change:?}");
                    seen[5] += 1;
                }
            }
        }
        let users = source.users.by_id.keys().map(|id| (true, *id));
        let orders = source.orders.by_id.keys().map(|id| (false, *id));
        assert_eq!(users.chain(orders).collect::<HashSet<_>>(), keys);
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }
}
